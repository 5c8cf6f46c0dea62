"""The websocket gateway: clients log in with session keys and receive events.

    login        the request of a handshake, well-formed, and why it is refused
    origins      which pages may open websockets
    proxies      who a client is behind a proxy
    limits       what clients may take
    contracts    what an identity resolver and an access policy of a program's own owe the gateway
    identity     identities from a service
    access       the default access policy
    rpc_access   an access policy that asks a service
    admission    whether a login comes in: room, key, identity, topics
    connection_limit  a limit on the connections of each address
    summed_log   log lines that strangers can cause, summed up
    rate_limit   a limit on how often something may happen within a period
    intake       work that clients cause has a bounded, fair share of each turn
    autobahn_corrections  what Autobahn's server protocol does wrong or without a bound
    protocol     the websocket edge: handshake, what a client sends, closing
    resource     the same edge inside a twisted.web site
    compression  permessage-deflate, agreed on so that one compressed frame serves all
    subprotocols  which of the offered subprotocols is selected
    tls          the certificate, what is negotiated, handshakes that fail
    fanout       one subscription a topic, for all the clients that follow it
    delivery     what comes on a topic: parsed, filtered and encoded once
    frames       events as finished websocket frames
    outbox       what falls due in one turn of the reactor, written once to each client
    sending      what waits to be written to one client, as views of shared bytes
    joining      the policy prepared and the topics subscribed of one client
    recovery     clients that return to the events they missed
    revoked      clients whom OpenTera deletes or disables
    presence     tells the bus who came and who went
    gateway      the service that joins them

Source: docs/reference/wire.md.
"""

from opentera_twisted.gateway.access import DefaultPolicy
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
