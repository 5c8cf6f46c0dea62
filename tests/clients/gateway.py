"""``twistd opentera-bus`` that pings each second and prints each answer."""

from __future__ import annotations

from typing import Any

from twisted.scripts.twistd import run

from opentera_twisted.gateway import protocol
from tests.helpers.patient import be_patient

_ClientProtocol: Any = protocol.ClientProtocol


class _Telling(_ClientProtocol):  # type: ignore[misc]  # Autobahn is not annotated
    def answered(self) -> None:
        super().answered()
        print(f"pong of {self.identity.uuid}", flush=True)  # noqa: T201


if __name__ == "__main__":
    be_patient()
    names: Any = protocol
    names.PING_INTERVAL = 1
    names.ClientProtocol = _Telling
    run()
