"""The program ``twistd opentera-bus``: options, log, systemd, workers. A part imports those below.

service          the services, in their order
options          options from the command line and a file
workers          processes that share the websockets
admin_options    options of the admin endpoint
configuration    options file in TOML
gateway_options  options of the gateway, and the gateway made from them
gateway_service  the gateway as a service, for operators
redis_checks     checks of Redis, at the start and in the doctor
systemd          readiness, status and watchdog for systemd
log              the program's log
open_files       limit of open files
option_values    parsing and checking of option values
tracing          export of spans to an OpenTelemetry collector
settings         checked options, one object for each package
"""
