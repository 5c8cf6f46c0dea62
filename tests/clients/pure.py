"""Visits of the clients in pure Python."""

from __future__ import annotations

import asyncio
import ssl
import struct
from typing import Any

import aiohttp
import websocket
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from tests.helpers.support import GUARD

from .visit import Client, Seen, Visit


def _trust(visit: Visit) -> ssl.SSLContext | None:
    if not visit.url.startswith("wss:"):
        return None
    return ssl.create_default_context(cafile=visit.authority)


async def _with_websockets(visit: Visit) -> Seen:
    # Its client for threads reads and writes one TLS connection in two threads, and Python's ssl
    # then loses a request now and then (https://github.com/python/cpython/issues/143756).
    seen = Seen()
    offers: dict[str, Any] = {
        "usual": {},
        "small": {
            "compression": None,
            "extensions": [ClientPerMessageDeflateFactory(client_max_window_bits=9)],
        },
        "unusable": {
            "compression": None,
            "extensions": [ClientPerMessageDeflateFactory(server_max_window_bits=8)],
        },
    }
    protocols: Any = visit.protocols or None
    try:
        client = await connect(
            visit.url,
            ssl=_trust(visit),
            subprotocols=protocols,
            proxy=None,
            open_timeout=GUARD,
            ping_interval=None,  # it would close after 20 s without a pong
            close_timeout=GUARD,
            **offers[visit.offer],
        )
    except InvalidHandshake as error:
        seen.reason = repr(error)
        return seen
    seen.opened = True
    seen.protocol = client.subprotocol or ""
    assert client.response is not None
    extensions = client.response.headers.get("Sec-WebSocket-Extensions", "")
    seen.compressed = "permessage-deflate" in extensions
    try:
        if visit.want:  # otherwise it may be closed before the answer
            await asyncio.wait_for(await client.ping(), GUARD)
            seen.ponged = True
        while not visit.want or len(seen.messages) < visit.want:
            message = await asyncio.wait_for(client.recv(), GUARD)
            assert isinstance(message, str)
            seen.messages.append(message)
        await client.close(1000, "bye")
    except ConnectionClosed:
        pass
    seen.code, seen.reason = client.close_code, client.close_reason or ""
    return seen


def _websockets(visit: Visit) -> Seen:
    return asyncio.run(_with_websockets(visit))


async def _with_aiohttp(visit: Visit) -> Seen:
    seen = Seen()
    patient = aiohttp.ClientTimeout(total=GUARD)
    async with aiohttp.ClientSession(timeout=patient) as session:
        try:
            client = await session.ws_connect(
                visit.url,
                protocols=visit.protocols,
                timeout=aiohttp.ClientWSTimeout(ws_close=GUARD),
                ssl=_trust(visit) or True,
                compress={"usual": 0, "largest": 15}[visit.offer],
            )
        except aiohttp.WSServerHandshakeError as error:
            seen.reason = repr(error)
            return seen
        seen.opened = True
        seen.protocol = client.protocol or ""
        seen.compressed = bool(client.compress)
        await client.ping()
        while not client.closed:
            message = await client.receive(GUARD)
            if message.type is aiohttp.WSMsgType.TEXT:
                seen.messages.append(message.data)
                if len(seen.messages) == visit.want:
                    await client.close(code=1000)
            else:
                seen.reason = str(message.extra or "")
        seen.code = client.close_code
    return seen


def _aiohttp(visit: Visit) -> Seen:
    return asyncio.run(_with_aiohttp(visit))


def _websocket_client(visit: Visit) -> Seen:
    seen = Seen(ponged=False)
    offer = "permessage-deflate; client_max_window_bits=8"
    try:
        client = websocket.create_connection(
            visit.url,
            timeout=GUARD,
            sslopt={"context": _trust(visit)},
            subprotocols=visit.protocols or None,
            header=[f"Sec-WebSocket-Extensions: {offer}"] if visit.offer == "unusable" else None,
        )
    except websocket.WebSocketException as error:
        seen.reason = repr(error)
        return seen
    seen.opened = True
    seen.protocol = client.getsubprotocol() or ""
    seen.compressed = "sec-websocket-extensions" in (client.getheaders() or {})
    client.ping()
    while seen.code is None:
        opcode, data = client.recv_data(control_frame=True)
        if opcode == websocket.ABNF.OPCODE_PONG:
            seen.ponged = True
        elif opcode == websocket.ABNF.OPCODE_CLOSE:
            [seen.code] = struct.unpack_from("!H", data)
            seen.reason = data[2:].decode()
        elif opcode == websocket.ABNF.OPCODE_TEXT:
            seen.messages.append(data.decode())
            if len(seen.messages) == visit.want:
                client.send_close(1000, b"bye")
    client.shutdown()
    return seen


PURE = [
    Client("websockets", _websockets, {"usual": True, "small": True, "unusable": False}),
    Client("aiohttp", _aiohttp, {"usual": False, "largest": True}),
    Client("websocket-client", _websocket_client, {"usual": False, "unusable": False}),
]
