"""The websocket gateway: clients log in with session keys and receive events.

    login      what a handshake asks for, and why it is refused
    protocol   the Autobahn edge: handshake, frames, closing
    frames     events as finished websocket frames
    fanout     one subscription a topic, for all the clients that follow it
    presence   tells the bus who came and who went
    gateway    the service that joins them

Source: wire contract, section 5.
"""

from opentera_twisted.gateway.gateway import Gateway

__all__ = ["Gateway"]
