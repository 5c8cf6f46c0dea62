"""Private keys with a passphrase: refused wherever a key is loaded, without a prompt."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from opentera_twisted import InvalidArgument
from opentera_twisted._internal.private_key import private_key
from tests.helpers.authority import Authority
from tests.helpers.processes import ENVIRONMENT
from tests.helpers.support import GUARD

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
if pty.fork()[0]:
    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
try:
    {expression}
except (ValueError, SystemExit) as error:
    sys.exit("passphrase" not in str(error) or {file!r} not in str(error))
sys.exit("accepted")
"""


@pytest.mark.parametrize(
    "expression",
    [
        "Certificate({pem!r}, {key!r})",
        "Bus('rediss://h?certificate={pem}&private_key={key}')",
        "Bus('rediss://h?certificate={key}')",
        "Bus('rediss+sentinel://h/m?certificate={pem}&private_key={key}')",
        "Options().parseOptions(['--redis', 'rediss://h?certificate={pem}&private_key={key}'])",
        "check_endpoint('ssl:0:certKey={pem}:privateKey={key}')",
        "check_endpoint('haproxy:ssl:0:{key}:{pem}')",
    ],
    ids=["gateway", "url", "url, one file", "sentinels", "twistd", "endpoint", "wrapped endpoint"],
)
def test_a_key_with_a_passphrase_is_refused(
    expression: str, certificate: Path, locked: Path
) -> None:
    expression = expression.format(pem=str(certificate), key=str(locked))
    program = ON_A_TERMINAL.format(expression=expression, file=str(locked))
    subprocess.run([sys.executable, "-c", program], check=True, timeout=GUARD, env=ENVIRONMENT)


def test_a_key_without_a_passphrase_is_read(certificate: Path) -> None:
    assert private_key(certificate.read_bytes(), "f").bits() == 256


@pytest.mark.parametrize("pem", [b"", b"nonsense", b"-----BEGIN PRIVATE KEY-----\nAA\n"])
def test_a_file_without_a_key_is_refused(pem: bytes) -> None:
    with pytest.raises(InvalidArgument, match="no private key in the-file"):
        private_key(pem, "the-file")
