"""Small helpers that belong to no room; private.

callbacks      the user's functions, called
child_process  child processes: their output in lines, and how they ended
clock          timers that ignore a step of the system's clock
extras         the extra to install when a module is missing
failed_logins  the failed logins of each address
gathered       results of several Deferreds together
histogram      durations, counted by classes
ip_addresses   IP addresses in one form, parsed and compared
malformed      malformed messages, counted and logged
printable      text of other programs, made safe to print
private_file   files that may hold a secret, and who else can read them
private_key    private keys, read without asking for a passphrase
thread_pool    threads for what blocks, apart for each purpose
timeouts       checks of timeouts and other numbers of seconds
waiters        Deferreds that fire together
"""
