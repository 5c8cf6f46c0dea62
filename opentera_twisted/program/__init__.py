"""The program ``twistd opentera-bus``: options, log, systemd, workers.

options          options, from a file and the command line
option_values    values of options, checked
gateway_options  options of the gateway, and the gateway that they make
admin_options    options of the admin endpoint
configuration    a file of options in TOML
systemd          readiness, status and watchdog for systemd
garbage          rare collections of cyclic garbage
open_files       the limit of open files
log              the program's log
workers          processes that share the websockets
"""
