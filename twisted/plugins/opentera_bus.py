"""Tells twistd of the ``opentera-bus`` command."""

from twisted.application.service import ServiceMaker

opentera_bus = ServiceMaker(
    "OpenTera bus",
    "opentera_twisted.tap",
    "A websocket gateway for OpenTera: session keys log clients in, events reach them.",
    "opentera-bus",
)
