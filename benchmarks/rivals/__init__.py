"""Gateways and brokers to compare with ours; see README.md.

    gateways          the websocket gateways by name
    channels          Django Channels
    crossbar          Crossbar.io
    nats              nats-server
    nchan             nchan, a module of nginx
    node              ws and Socket.IO
    nats_requests     calls over NATS
    environments      installs each rival apart from the package, the system and each other

Programs that run in a rival's own environment are in ``programs``.
"""
