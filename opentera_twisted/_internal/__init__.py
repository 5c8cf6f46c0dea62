"""Small helpers used by several parts; private.

callbacks      calls of the user's functions
child_process  output lines and exit of child processes
clock          timers that ignore changes of the system's clock
default_url    the default address of Redis
extras         the extra to install when a module is missing
failed_logins  failed logins by address
garbage        settings of the collector of cyclic garbage
gathered       several Deferreds together: their results, and those that are pending
histogram      durations, counted by classes
ip_addresses   parsing and comparison of IP addresses
lazy           names of a package, loaded on first use
malformed      count and log of malformed messages
pings          pings to websockets, with one timer
printable      text of other programs, made safe to print
private_file   files that may contain a secret, and their exposure
private_key    private keys, read without asking for a passphrase
redis_signatures  types of frequent Redis commands, for type checkers
shared_stop    one stop of a service for all its callers
signatures     signatures of functions, whatever their type hints name
thread_pool    separate threads for each purpose
timeouts       checks of timeouts and other numbers
unused         warnings of results that nobody uses
waiters        Deferreds that fire together
"""
