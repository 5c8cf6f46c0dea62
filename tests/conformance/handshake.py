"""Handshakes: required, optional and forbidden parts of the request, and the answer."""

from __future__ import annotations

from collections.abc import Iterator

from .case import GOODBYE, KEY, NONCE, REFUSED, REQUEST, Case, deviating, opened, refused, request
from .frames import PING, TEXT, frame

_TARGET = b"/wss/user?id=" + KEY


def lines() -> Iterator[Case]:
    """The request's first line."""
    yield opened("the request of the RFC's example opens", "1.3", REQUEST)
    yield opened("what the answer accepts is computed from the key", "4.2.2", request())
    for kind in (b"user", b"participant", b"device"):
        line = b"GET /wss/" + kind + b"?id={key} HTTP/1.1"
        yield opened(f"/wss/{kind.decode()} is a resource", "4.2.1", request(line=line))
    for method in (b"POST", b"HEAD", b"PUT", b"OPTIONS", b"CONNECT", b"get", b"GETS"):
        yield refused(
            f"the method {method.decode()} is refused",
            "4.2.1",
            request(line=method + b" " + _TARGET + b" HTTP/1.1"),
            405,
            ("Allow", "GET"),
        )
    for version in (b"1.0", b"0.9", b"2.0", b"3.0"):
        yield refused(
            f"HTTP/{version.decode()} is refused",
            "4.2.1",
            request(line=b"GET " + _TARGET + b" HTTP/" + version),
            505,
        )
    yield deviating(
        refused(
            "a later version of HTTP/1 is accepted",
            "4.2.1",
            request(line=b"GET " + _TARGET + b" HTTP/1.2"),
            505,
        ),
        "refused with 505: there is none",
    )
    for line, words in (
        (b"GET " + _TARGET, "without a version"),
        (b"GET HTTP/1.1", "without a target"),
        (b"GET  HTTP/1.1", "with an empty target"),
        (b"GET " + _TARGET + b" HTTP/1.1 x", "with a fourth word"),
        (b"GET\t" + _TARGET + b"\tHTTP/1.1", "with tabs"),
        (b"GET " + _TARGET + b"  HTTP/1.1", "with two spaces"),
        (b" GET " + _TARGET + b" HTTP/1.1", "that begins with a space"),
        (b"GET " + _TARGET + b" HTTP/1.1 ", "that ends with a space"),
        (b"GET " + _TARGET + b" http/1.1", "with http in small letters"),
        (b"GET " + _TARGET + b" HTTP/1", "with half a version"),
        (b"GET " + _TARGET + b" HTTP/11", "with a version without a dot"),
        (b"GET " + _TARGET + b" FTP/1.1", "of another protocol"),
        (b"\x16\x03\x01\x02\x00", "that is the beginning of TLS"),
        (b"PRI * HTTP/2.0\r\n\r\nSM", "that is the beginning of HTTP/2"),
    ):
        status = 405 if line.startswith(b"PRI") else 400
        yield refused(
            f"a first line {words} is refused", "4.2.1; RFC 9112, 3", request(line=line), status
        )
    for target, words in (
        (b"http://127.0.0.1" + _TARGET, "of http"),
        (b"https://example.org" + _TARGET, "of https and another host"),
        (b"ws://127.0.0.1:80" + _TARGET, "of ws"),
    ):
        yield opened(
            f"a target that is a whole URI {words} is taken",
            "4.2.1; RFC 9112, 3.2.2",
            request(line=b"GET " + target + b" HTTP/1.1"),
        )
    yield refused(
        "a target with a fragment is refused",
        "3",
        request(line=b"GET " + _TARGET + b"#x HTTP/1.1"),
        400,
    )
    for target in (
        b"*",
        b"/",
        b"/wss",
        b"/wss/",
        b"/wss/user/",
        b"/wss/users",
        b"/WSS/user",
        b"/wss/%75ser",
        b"//wss/user",
        b"/x/../wss/user",
        b"wss/user",
    ):
        yield refused(
            f"the target {target.decode()} is not found",
            "4.2.2",
            request(line=b"GET " + target + b"?id=" + KEY + b" HTTP/1.1"),
            404,
        )


def needed() -> Iterator[Case]:
    """Required headers and their valid forms."""
    for name, status in (
        ("Host", 400),
        ("Upgrade", 426),
        ("Connection", 400),
        ("Sec-WebSocket-Key", 400),
        ("Sec-WebSocket-Version", 400),
    ):
        value: dict[str, bytes | None] = {name: None}
        yield refused(f"without {name} it is refused", "4.2.1", request(change=value), status)
    for name, text in (
        ("Host", b"127.0.0.1"),
        ("Sec-WebSocket-Key", NONCE),
        ("Sec-WebSocket-Version", b"13"),
    ):
        yield refused(
            f"two of {name} are refused",
            "4.2.1, 11.3",
            request(name.encode() + b": " + text),
            400,
        )
    for header, text, words in (
        ("Upgrade", b"WebSocket", "in mixed case"),
        ("Upgrade", b"WEBSOCKET", "in capitals"),
        ("Upgrade", b"h2c, websocket", "among others"),
        ("Connection", b"upgrade", "in small letters"),
        ("Connection", b"UPGRADE", "in capitals"),
        ("Connection", b"keep-alive, Upgrade", "among others"),
        ("Connection", b"keep-alive,upgrade", "among others without a space"),
        ("Host", b"127.0.0.1:80", "with a port"),
        ("Host", b"example.org", "of another host"),
        ("Host", b"[::1]", "that is IPv6"),
        ("Host", b"[::1]:80", "that is IPv6 with a port"),
        ("Host", b"example.org:", "with an empty port"),
        ("Sec-WebSocket-Version", b" \t13\t ", "with space around it"),
    ):
        value = {header: text}
        yield opened(f"{header} {words} is taken", "4.2.1", request(change=value))
    for header, text, words, status in (
        ("Upgrade", b"h2c", "of another protocol", 400),
        ("Upgrade", b"", "that is empty", 400),
        ("Upgrade", b"websockets", "that only begins so", 400),
        ("Connection", b"close", "that says close", 400),
        ("Connection", b"", "that is empty", 400),
        ("Connection", b"upgraded", "that only begins so", 400),
        ("Host", b"127.0.0.1:http", "with a port that is no number", 400),
        ("Host", b"127.0.0.1:8_0", "with an underscore in its port", 400),
        ("Host", b"127.0.0.1:+80", "with a sign before its port", 400),
        ("Host", b"a b", "with a space", 400),
        ("Host", b"a, b", "that is a list", 400),
        ("Host", b"u@a/b?c", "with a user and a path", 400),
        ("Host", b"[::1", "that is half an IPv6 address", 400),
    ):
        value = {header: text}
        yield refused(f"{header} {words} is refused", "4.2.1", request(change=value), status)
    for line, words in (
        (b"Content-Length: 5", "with a body"),
        (b"Content-Length: abc", "with a body of no length"),
        (b"Transfer-Encoding: chunked", "with a body in chunks"),
        (b"Content-Length: 0\r\nTransfer-Encoding: chunked", "with two lengths"),
    ):
        yield refused(f"a request {words} is refused", "RFC 9112, 6.3", request(line), 400)
    yield opened(
        "a request with an empty body opens", "RFC 9112, 6.3", request(b"Content-Length: 0")
    )
    for header, text in (("Connection", b"Upgrade"), ("Upgrade", b"websocket")):
        value = {header: None}
        yield opened(
            f"{header} on two lines is taken as one",
            "4.2.1; RFC 9110, 5.3",
            request(header.encode() + b": x", header.encode() + b": " + text, change=value),
        )
    for text, words in (
        (b"", "empty"),
        (b"AAAA", "of 3 bytes"),
        (b"AAAAAAAAAAAAAAAAAAAA", "of 15 bytes"),
        (b"AAAAAAAAAAAAAAAAAAAAAAA=", "of 17 bytes"),
        (b"AAAAAAAAAAAAAAAAAAAAAAAA", "of 18 bytes"),
        (b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "of 26 bytes"),
        (b"AAAAAAAAAAAAAAAAAAAAAA", "without its end"),
        (b"AAAAAAAAAAAAAAAAAAAAA!==", "with a character that is not of base64"),
        (b"AAAAAAAAAAA-_AAAAAAAAA==", "in the base64 of URLs"),
        (b"AAAAAAAAAA AAAAAAAAAAA==", "with a space"),
        (b"AAAAAAAAAAAAAAAAAAAAA\xe9==", "with a letter beyond ASCII"),
    ):
        yield refused(
            f"a key {words} is refused", "4.2.1", request(change={"Sec-WebSocket-Key": text}), 400
        )
    yield opened(
        "a key with space around it is accepted",
        "4.2.1",
        request(change={"Sec-WebSocket-Key": b"  " + NONCE + b" \t"}),
    )


def versions() -> Iterator[Case]:
    """Versions of the protocol, and the answer to others."""
    told = ("Sec-WebSocket-Version", "13")
    for number in (0, 4, 7, 8, 9, 12, 14, 25, 255):
        yield refused(
            f"version {number} is refused, and 13 is named",
            "4.2.2, 4.4",
            request(change={"Sec-WebSocket-Version": str(number).encode()}),
            400,
            told,
        )
    for version, words in (
        (b"", "empty"),
        (b"x", "a letter"),
        (b"13, 8", "a list"),
        (b"1 3", "two numbers"),
        (b"13.0", "a fraction"),
        (b"013", "13 with a zero before it"),
        (b"+13", "13 with a sign"),
        (b"1_3", "13 with an underscore"),
    ):
        yield refused(
            f"a version that is {words} is refused",
            "4.2.1",
            request(change={"Sec-WebSocket-Version": version}),
            400,
        )
    yield refused(
        "a version of the draft, with its own header of the origin, is refused",
        "4.2.1",
        request(b"Sec-WebSocket-Origin: http://127.0.0.1", change={"Sec-WebSocket-Version": b"8"}),
        400,
        told,
    )


def headers() -> Iterator[Case]:
    """Syntax of headers."""
    for name in (b"upgrade", b"UPGRADE", b"uPgRaDe"):
        yield opened(
            f"names of headers have no case: {name.decode()}",
            "4.2.1; RFC 9110, 5.1",
            request(name + b": websocket", change={"Upgrade": None}),
        )
    yield opened(
        "the order of headers is free",
        "4.1",
        b"GET " + _TARGET + b" HTTP/1.1\r\nSec-WebSocket-Version: 13\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: " + NONCE + b"\r\nUpgrade: websocket\r\nHost: 127.0.0.1\r\n\r\n",
    )
    yield opened(
        "headers without a space after the colon are accepted",
        "RFC 9112, 5",
        REQUEST.replace(b": ", b":"),
    )
    for line, words in (
        (b"X-Unknown: x", "that is unknown"),
        (b"X-Empty:", "that is empty"),
        (b"X-!#$%&'*+.^_`|~9: x", "of every character that its name may have"),
        (b"X-Text: caf\xe9 \xc3\xa9", "with text beyond ASCII"),
        (b"X-Tab: a\tb", "with a tab"),
        (b"Cookie: session=1; x=\xc3\x85ngstr\xc3\xb6m", "with the byte 85 within a letter"),
        (b"Authorization: Bearer x", "that authorizes"),
        (b"X-Long: " + b"x" * 8000, "of 8,000 bytes"),
        (b"X-Many: x\r\n" * 300 + b"X-Last: x", "that comes 301 times"),
        (b"Content-Length: 0", "that says that no body follows"),
    ):
        yield opened(f"a header {words} is ignored", "4.2.1; RFC 9110, 5", request(line))
    for line, words in (
        (b"X-Folded: a\r\n b", "that is folded"),
        (b"Sec-WebSocket-Protocol: a,\r\n\tb", "that is folded with a tab"),
        (b" X: y", "that begins with a space"),
        (b"X : y", "with a space before its colon"),
        (b"no colon", "without a colon"),
        (b": no name", "without a name"),
        (b"X(: y", "with a parenthesis in its name"),
        (b"X\xe9: y", "with a letter beyond ASCII in its name"),
        (b"X: a\0b", "with a NUL"),
        (b"X: a\x0bb", "with a vertical tab"),
        (b"X: a\x0cb", "with a form feed"),
        (b"X: a\x1eb", "with a record separator"),
        (b"X: a\rb", "with a bare carriage return"),
        (b"X: a\nb", "with a bare line feed"),
        (b"X: a\x7fb", "with a DEL"),
    ):
        yield refused(f"a header {words} is refused", "4.2.1; RFC 9112, 5", request(line), 400)
    yield refused(
        "a header hidden behind the byte 85 is ignored",
        "RFC 9112, 2.2",
        request(b"X: a\x85Sec-WebSocket-Key: " + NONCE, change={"Sec-WebSocket-Key": None}),
        400,
    )
    yield refused(
        "lines that end with a bare line feed, before the last, are refused",
        "4.2.1; RFC 9112, 2.2",
        request(end=b"\n")[:-1] + b"\r\n\r\n",
        400,
    )
    for size in (16_385, 20_000, 100_000):
        line = b"X: " + b"x" * (size - len(request(b"X: ")) + len(KEY) - 128)
        yield refused(
            f"a request of {size:,} bytes is refused", "4.2.1; RFC 6585, 5", request(line), 431
        )
    line = b"X: " + b"x" * (16_384 - len(request(b"X: ")) + len(KEY) - 128)
    yield opened("a request of 16,384 bytes is taken", "4.2.1", request(line))
    yield refused(
        "endless headers are refused at a limit",
        "4.2.1; RFC 6585, 5",
        REQUEST[:-2] + b"X: y\r\n" * 4000,
        431,
    )


def offers() -> Iterator[Case]:
    """Subprotocols, of which one is selected; extensions, of which none is; origins."""
    protocol, extensions = "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"
    for text, selected in (
        (b"chat", "chat"),
        (b"chat, superchat", "chat"),
        (b"superchat,chat", "superchat"),
        (b"opentera-bus.x, events", "events"),
    ):
        yield opened(
            f"of the subprotocols offered as {text.decode()!r} {selected} is selected",
            "4.2.2",
            request(protocol.encode() + b": " + text),
            (protocol, selected),
        )
    yield opened(
        "without an offer no subprotocol is selected", "4.2.2", request(), (protocol, "none")
    )
    yield opened(
        "subprotocols on two lines are one list",
        "11.3.4",
        request(b"Sec-WebSocket-Protocol: a", b"Sec-WebSocket-Protocol: b"),
        (protocol, "a"),
    )
    for text in (b"opentera-bus.x", b"opentera-bus.x, opentera-bus.y"):
        yield refused(
            f"the subprotocols offered as {text.decode()!r}, which are not spoken, are refused",
            "4.2.2",
            request(protocol.encode() + b": " + text),
            400,
        )
    for text, words in (
        (b"a b", "with a space"),
        (b"a/b", "with a slash"),
        (b"caf\xe9", "with a letter beyond ASCII"),
    ):
        yield refused(
            f"a subprotocol {words} is refused",
            "4.1",
            request(protocol.encode() + b": " + text),
            400,
        )
    yield refused(
        "a subprotocol offered twice is refused",
        "4.1",
        request(b"Sec-WebSocket-Protocol: chat, chat"),
        400,
    )
    for text in (
        b"permessage-deflate",
        b"permessage-deflate; client_max_window_bits",
        b"permessage-deflate; server_no_context_takeover; client_max_window_bits=10",
        b"permessage-deflate, permessage-deflate; client_max_window_bits",
        b"x-webkit-deflate-frame",
        b"foo",
        b'foo; bar="1"; baz',
        b"foo, bar, permessage-deflate",
        b"permessage-deflate; client_max_window_bits=8",
        b"permessage-deflate; server_max_window_bits=8",
        b"permessage-deflate; server_max_window_bits=16",
        b"permessage-deflate; unknown",
        b"permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        b"permessage-bzip2; unknown",
        b"",
    ):
        yield opened(
            f"the extensions offered as {text.decode()!r} are not taken up",
            "9.1",
            request(extensions.encode() + b": " + text),
            (extensions, "none"),
        )
    for text in (b"foo;", b"foo; =", b"foo bar", b'foo; bar="', b"(foo)"):
        yield refused(
            f"the extensions offered as {text.decode()!r}, which are malformed, are refused",
            "9.1",
            request(extensions.encode() + b": " + text),
            400,
        )
    yield opened(
        "extensions on two lines are read as one",
        "9.1",
        request(b"Sec-WebSocket-Extensions: a", b"Sec-WebSocket-Extensions: b"),
        (extensions, "none"),
    )
    for origin in (b"http://127.0.0.1", b"https://example.org", b"null", b"https://a.b:8443"):
        yield opened(
            f"the origin {origin.decode()} is accepted where none is required",
            "4.2.2, 10.2",
            request(b"Origin: " + origin),
        )
    yield refused(
        "two origins are refused",
        "10.2",
        request(b"Origin: https://a.example", b"Origin: https://b.example"),
        400,
    )
    yield refused("an origin that is none is refused", "10.2", request(b"Origin: x"), 400)


def pipelined() -> Iterator[Case]:
    """Bytes after the request, before the answer."""
    for data, words, answers in (
        (frame(TEXT, b"x"), "a message", [REFUSED]),
        (frame(PING, b"x"), "a ping", ["pong 78"]),
        (frame(TEXT, b"x") * 10, "ten messages", [REFUSED] * 10),
        (frame(TEXT, b"x", fin=False) + frame(0, b"y"), "a message in fragments", [REFUSED]),
    ):
        yield Case(
            rule=f"{words} right behind the request waits for the answer",
            section="4.1",
            request=REQUEST + data,
            frames=GOODBYE,
            answers=("101", *answers, "close 1000", "end"),
        )
    half = frame(TEXT, b"x")
    yield Case(
        rule="half a frame right behind the request waits for its rest",
        section="4.1",
        request=REQUEST + half[:3],
        frames=half[3:] + GOODBYE,
        answers=("101", REFUSED, "close 1000", "end"),
    )
    for data, words, code in (
        (GOODBYE, "a close", 1000),
        (REQUEST.replace(KEY, b"x"), "a second request, which is no frame,", 1002),
        (frame(3), "a frame that breaks a rule", 1002),
        (frame(TEXT, b"\xff"), "a text that is none", 1007),
        (b"\r\n", "an empty line, which is no frame,", 1002),
    ):
        yield Case(
            rule=f"{words} right behind the request ends what it opened",
            section="4.1",
            request=REQUEST + data,
            answers=("101", f"close {code}", "end"),
        )


CASES = [*lines(), *needed(), *versions(), *headers(), *offers(), *pipelined()]
