"""Private keys with a passphrase: refused wherever a key is loaded, without a prompt."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from opentera_twisted import InvalidArgument
from opentera_twisted._internal.private_key import private_key
from tests.helpers.authority import Authority
from tests.helpers.processes import Process

FORMATS = {
    "pkcs8": serialization.PrivateFormat.PKCS8,
    "traditional": serialization.PrivateFormat.TraditionalOpenSSL,
}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with a certificate and its key."""
    return Authority(tmp_path_factory.mktemp("tls")).issue("localhost")


@pytest.fixture(scope="module", params=FORMATS)
def locked(certificate: Path, request: pytest.FixtureRequest) -> Path:
    """Return a file with the key, encrypted."""
    key = serialization.load_pem_private_key(certificate.read_bytes(), None)
    path = certificate.with_name(f"{request.param}.pem")
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            FORMATS[request.param],
            serialization.BestAvailableEncryption(b"sesame"),
        )
    )
    return path


# A prompt for a passphrase on this terminal would wait indefinitely.
ON_A_TERMINAL = """
import os, pty, sys
from opentera_twisted import Bus
from opentera_twisted.gateway.tls import Certificate
from opentera_twisted.program.option_values import check_endpoint
from opentera_twisted.program.options import Options
pem, key = sys.argv[1:]
url = f"rediss://h?certificate={pem}&private_key={key}"
for place, load in {
    "gateway": lambda: Certificate(pem, key),
    "url": lambda: Bus(url),
    "url, one file": lambda: Bus(f"rediss://h?certificate={key}"),
    "sentinels": lambda: Bus(f"rediss+sentinel://h/m?certificate={pem}&private_key={key}"),
    "twistd": lambda: Options().parseOptions(["--redis", url]),
    "endpoint": lambda: check_endpoint(f"ssl:0:certKey={pem}:privateKey={key}"),
    "wrapped endpoint": lambda: check_endpoint(f"haproxy:ssl:0:{key}:{pem}"),
}.items():
    if pty.fork()[0]:
        status = os.waitstatus_to_exitcode(os.wait()[1])
        print(place, "refused" if status == 0 else "failed", flush=True)
        continue
    try:
        load()
    except (ValueError, SystemExit) as error:
        sys.exit("passphrase" not in str(error) or key not in str(error))
    sys.exit("accepted")
print("the end", flush=True)
"""

PLACES = ("gateway", "url", "url, one file", "sentinels", "twistd", "endpoint", "wrapped endpoint")


def test_a_key_with_a_passphrase_is_refused(certificate: Path, locked: Path) -> None:
    command = (sys.executable, "-c", ON_A_TERMINAL, str(certificate), str(locked))
    program = Process(*command, fork=True)
    try:
        program.wait_for("the end")
    finally:
        program.kill()
    assert program.output.splitlines() == [*(f"{place} refused" for place in PLACES), "the end"]


def test_a_key_without_a_passphrase_is_read(certificate: Path) -> None:
    assert private_key(certificate.read_bytes(), "f").bits() == 256


@pytest.mark.parametrize("pem", [b"", b"nonsense", b"-----BEGIN PRIVATE KEY-----\nAA\n"])
def test_a_file_without_a_key_is_refused(pem: bytes) -> None:
    with pytest.raises(InvalidArgument, match="no private key in the-file"):
        private_key(pem, "the-file")
