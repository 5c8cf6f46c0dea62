"""The program ``twistd opentera-bus``: options, log, systemd, workers.

options          options from the command line and a file
settings         checked options, one object for each package
service          the services, in their order
option_values    parsing and checking of option values
gateway_options  options of the gateway, and the gateway made from them
admin_options    options of the admin endpoint
configuration    options file in TOML
systemd          readiness, status and watchdog for systemd
garbage          rare collections of cyclic garbage
open_files       limit of open files
redis_checks     checks of Redis, at the start and in the doctor
log              the program's log
workers          processes that share the websockets
"""
