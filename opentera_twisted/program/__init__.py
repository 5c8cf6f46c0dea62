"""The program ``twistd opentera-bus``: options, log, systemd, workers.

options          options, from a file and the command line
settings         the checked options, one object for each room
service          the services, in their order
option_values    values of options, checked
gateway_options  options of the gateway, and the gateway that they make
admin_options    options of the admin endpoint
configuration    a file of options in TOML
systemd          readiness, status and watchdog for systemd
garbage          rare collections of cyclic garbage
open_files       the limit of open files
redis_checks     checks of Redis, at the start and in the doctor
log              the program's log
workers          processes that share the websockets
"""
