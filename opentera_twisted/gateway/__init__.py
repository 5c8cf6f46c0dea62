"""The websocket gateway: clients log in with session keys and receive events.

    handshake    the opening handshake: its request and response
    login        parsing of a login from a request, and its refusal
    origins      allowed origins of web pages
    trusted_proxies  client addresses behind trusted proxies
    limits       limits on clients and their resources
    contracts    interfaces of an identity resolver and an access policy
    identity     identities from a service
    access_policy  the default access policy
    rpc_access   an access policy that queries a service
    admission    limits, session key, identity, subscriptions
    traced_admission  the same, with a span for each login
    counters     counts of connections and messages, compared with a limit
    audit        the audit log: logins, refusals, disconnects, kicks
    summed_log   summaries of log lines that unauthenticated peers cause
    intake       a fair queue for clients' work, bounded per reactor iteration
    autobahn_corrections  corrections of Autobahn's server protocol
    protocol     the websocket protocol: handshake, incoming frames, closing
    resource     the websocket endpoint as a resource of a twisted.web site
    deflate      permessage-deflate with one compressed frame for all clients
    subprotocols  selection of the subprotocol
    tls          certificates, negotiation, failed handshakes
    fanout       one subscription per topic for all its clients
    delivery     events of a topic, parsed, filtered and encoded once
    frames       events as finished websocket frames
    outbox       one write per client for one or more reads from Redis
    send_queue   the send queue of one client, as views of shared bytes
    joining      preparing the access policy and subscribing topics for a client
    recovery     return of clients to the events they missed
    revoked      clients of deleted or disabled identities
    presence     reports of connected and disconnected clients
    gateway      the service that connects the modules
    listing      a gateway and its clients as JSON values
    all_gateways  the gateways of a bus, and their clients

Source: docs/reference/wire.md.
"""

from opentera_twisted.gateway.access_policy import DefaultPolicy
from opentera_twisted.gateway.contracts import (
    EVERYONE,
    NOBODY,
    Audience,
    IAccessPolicy,
    IIdentityResolver,
    IPreparedPolicy,
)
from opentera_twisted.gateway.gateway import Gateway
from opentera_twisted.gateway.identity import RpcIdentities
from opentera_twisted.gateway.limits import GatewayLimits
from opentera_twisted.gateway.rpc_access import RpcAccess
from opentera_twisted.gateway.tls import TLSListening
from opentera_twisted.sessions import Identity
from opentera_twisted.topics import Kind

__all__ = [
    "EVERYONE",
    "NOBODY",
    "Audience",
    "DefaultPolicy",
    "Gateway",
    "GatewayLimits",
    "IAccessPolicy",
    "IIdentityResolver",
    "IPreparedPolicy",
    "Identity",
    "Kind",
    "RpcAccess",
    "RpcIdentities",
    "TLSListening",
]
