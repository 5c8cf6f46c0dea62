"""The configuration file: options, mistakes with their lines, and passwords in files."""

from __future__ import annotations

import json
import re
import string
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import gatherResults

from opentera_twisted import InvalidArgument
from opentera_twisted.link import RedisAddress
from opentera_twisted.link.secret_file import LONGEST, mask_passwords, read_secret, with_password
from opentera_twisted.program.configuration import Configuration
from opentera_twisted.program.options import Options, StartFailed
from tests.helpers.commands import CommandTestCase
from tests.helpers.processes import twistd
from tests.helpers.support import ROOT, folder_of, free_port, start_server

PASSWORDS = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20)


def parse(file: Path, *arguments: str) -> Options:
    options = Options()
    options.parseOptions(["--config", str(file), *arguments])
    return options


def mistakes(file: Path, *arguments: str) -> list[str]:
    with pytest.raises(StartFailed) as caught:
        parse(file, *arguments)
    return [mistake.replace(str(file), "FILE") for mistake in caught.value.mistakes]


class TestFile:
    def write(self, tmp_path: Path, text: str) -> Path:
        file = tmp_path / "bus.toml"
        file.write_text(text)
        return file

    def test_every_option_can_be_set(self, tmp_path: Path) -> None:
        (tmp_path / "password").write_text("hush\n")
        (tmp_path / "token").write_text("hush" * 8)
        settings = {
            "redis": "redis://h/1",
            "redis-password-file": str(tmp_path / "password"),
            "name": "n",
            "admin": "none",
            "admin-host": ["bus.example.org"],
            "admin-token-file": str(tmp_path / "token"),
            "console": "write",
            "log-format": "json",
            "log-level": "warn",
            "audit-log": str(tmp_path / "audit"),
            "websocket": ["tcp:1:interface=127.0.0.1", "tcp:2"],
            "origin": ["https://a.example"],
            "trusted-proxy": ["10.0.0.0/8", "unix"],
            "broadcast": ["user:service.a.events"],
            "identity-rpc": "service.Who",
            "access-rpc": "service.Access",
            "on-gap": "close",
            "compression": 12,
            "max-clients": 1,
            "max-clients-per-identity": 2,
            "handshake-timeout": 2.5,
            "max-message-size": 3,
            "max-connections-per-address": 9,
            "max-messages-per-minute": 8,
            "max-send-buffer": 4,
            "presence-grace": 2.5,
            "recovery-buffer": 5,
            "recovery-window": 6.5,
            "failed-logins-per-minute": 5,
            "shutdown-timeout": 6,
            "workers": 7,
            "require-bound-keys": True,
            "user-manager": True,
            "tracing": True,
        }
        known = Options().sources.keys() - {"config"}
        certificate = {"certificate", "private-key"}  # tests of TLS check that they work
        assert known - certificate == set(settings)
        text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
        options = parse(self.write(tmp_path, text))
        for name, value in settings.items():
            assert options[name] == value, name
        assert (options["handshake-timeout"], options["max-clients"]) == (2.5, 1)
        assert options.settings().redis.url == "redis://:hush@h/1"

    def test_an_empty_file_changes_nothing(self, tmp_path: Path) -> None:
        plain = Options()
        plain.parseOptions([])
        assert {**parse(self.write(tmp_path, "# nothing\n")), "config": None} == dict(plain)

    def test_the_command_line_wins(self, tmp_path: Path) -> None:
        file = self.write(
            tmp_path,
            'name = "file"\nmax-clients = 1\nwebsocket = ["tcp:1"]\norigin = ["https://a.example"]\n',
        )
        options = parse(file, "--name", "line", "-w", "tcp:2", "-w", "tcp:3")
        assert options["name"] == "line"
        assert options["max-clients"] == 1
        assert options["websocket"] == ["tcp:2", "tcp:3"]
        assert options["origin"] == ["https://a.example"]
        shown = {name: source for name, _, source in options.shown()}
        assert shown["name"] == "--name"
        assert shown["max-clients"] == f"{file}:2"
        assert shown["on-gap"] == "default"

    def test_all_mistakes_are_reported_with_their_lines(self, tmp_path: Path) -> None:
        text = """
# of the gateway
redis = "http://u:hush@h"
websocket = [
    "tcp:40085:interface=127.0.0.1",   # this one is right
    "nonsense",
    'tcp:abc',
]

max-clients = -1
handshake-timeout = "soon"
max-client = 5
require-bound-keys = "yes"
origin = "https://a.example"
broadcast = ["user:service.a.events", "user:service.a.rpc"]
name = ["a"]
certificate = "/nonexistent"

[limits]
max-clients = 5
"""
        found = mistakes(self.write(tmp_path, text), "--on-gap", "never")
        expected = [
            r"--on-gap: expected one of keep, close, not 'never'",
            r"FILE:3: redis: http://h is not a URL of a Redis server: .*",
            r"FILE:6: websocket: expected an endpoint such as .*, not 'nonsense': .*",
            r"FILE:7: websocket: expected an endpoint such as .*, not 'tcp:abc': .*",
            r"FILE:10: max-clients: expected an integer ≥ 0, not '-1'",
            r"FILE:11: handshake-timeout: expected seconds from 0 to \d+, not 'soon'",
            r"FILE:12: max-client: unknown option; did you mean max-clients\?",
            r"FILE:13: require-bound-keys: expected true or false",
            r'FILE:14: origin: expected a list of strings: \["…", "…"\]',
            r"FILE:15: broadcast: .* carries rpc, .*",
            r'FILE:16: name: expected a string: "…"',
            r"FILE:17: certificate: --certificate and --private-key must be given together",
            r"FILE:19: limits: unknown option.*",
        ]
        assert len(found) == len(expected), found
        for line, pattern in zip(found, expected, strict=True):
            assert re.fullmatch(pattern, line), line
        assert "hush" not in "".join(found)

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("a =\n", "FILE:1: not TOML at column 4: Invalid value"),
            ("a = 1\n\na = 2\n", "FILE:3: not TOML at column 6: Cannot overwrite a value"),
            ('a = """x\n', "FILE:2: not TOML at the end of the file: .*"),
            ("a = " + "[" * 100_000, "FILE: nested too deeply"),
        ],
    )
    def test_invalid_toml_is_explained(self, tmp_path: Path, text: str, told: str) -> None:
        (found,) = mistakes(self.write(tmp_path, text))
        assert re.fullmatch(told, found), found

    def test_an_unreadable_file_is_explained(self, tmp_path: Path) -> None:
        file = tmp_path / "bus.toml"
        assert mistakes(file) == ["cannot read FILE: No such file or directory"]
        file.write_bytes(b"a = 1\nb = '\xff'\n")
        assert mistakes(file) == ["FILE:2: not UTF-8"]

    def test_a_world_readable_password_is_warned_about(self, tmp_path: Path) -> None:
        file = self.write(tmp_path, 'redis = "redis://:hush@h"\n')
        file.chmod(0o644)
        assert parse(file).hints == [
            f"everyone on this machine can read or change {file}: chmod o= {file}"
        ]
        assert parse(file, "--redis", "redis://:hush@h").hints == []
        file.chmod(0o640)
        assert parse(file).hints == []
        file.write_text('redis = "redis://h"\n')
        file.chmod(0o644)
        assert parse(file).hints == []

    def test_a_world_readable_token_is_warned_about(self, tmp_path: Path) -> None:
        token = tmp_path / "token"
        token.write_text("hush" * 8)
        file = self.write(tmp_path, f'admin-token-file = "{token}"\n')
        token.chmod(0o644)
        assert parse(file).hints == [
            f"everyone on this machine can read or change {token}: chmod o= {token}"
        ]
        token.chmod(0o640)
        assert parse(file).hints == []

    def test_a_password_in_two_places(self, tmp_path: Path) -> None:
        (tmp_path / "password").write_text("hush")
        file = self.write(tmp_path, f'redis-password-file = "{tmp_path}/password"\n')
        assert mistakes(file, "--redis", "redis://:other@h") == [
            "--redis: the URL and the file both have a password; use only one of them"
        ]
        assert mistakes(file, "--redis", "embedded:/data") == [
            "FILE:1: redis-password-file: the embedded server has no password; omit it"
        ]


@given(
    st.lists(
        st.sampled_from(
            [
                "# a comment",
                "",
                "{} = 1",
                '{} = [\n  "a",\n  # b\n  "c"]',
                '{} = """\nx\n{} = 5\n"""',
                "{} = {{b = 1}}",
                "'{}' = '''\n'''",
            ]
        ),
        max_size=8,
    )
)
def test_the_line_of_every_setting_is_where_it_begins(statements: list[str]) -> None:
    lines: list[str] = []
    expected = {}
    for number, statement in enumerate(statements):
        name = f"k{number}"
        if "{" in statement:
            expected[name] = len(lines) + 1
        lines += statement.format(name, f"k{number + 1}").split("\n")
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write("\n".join(lines))
        file.flush()
        configuration = Configuration.read(file.name)
    assert {name: configuration.line(name) for name in configuration.settings} == expected


class TestSecrets:
    def test_the_secret_is_the_file_without_its_line_break(self, tmp_path: Path) -> None:
        file = tmp_path / "password"
        for data, password in (
            (b"hush", "hush"),
            (b" hu sh \n", " hu sh "),
            (b"Zo\xc3\xa9\r\n", "Zoé"),
        ):
            file.write_bytes(data)
            assert read_secret(str(file)).text == password
        assert "hush" not in repr(read_secret(str(file)))

    def test_an_invalid_password_file_is_refused(self, tmp_path: Path) -> None:
        file = tmp_path / "password"
        for data, told in (
            (b"", "is empty"),
            (b"\n", "is empty"),
            (b"hush\nhush\n", "a line break or an unprintable character"),
            (b"hu\tsh", "a line break or an unprintable character"),
            (b"\xff", "is not UTF-8 text"),
            (b"h" * (LONGEST + 1), "is longer than 4,096 bytes"),
        ):
            file.write_bytes(data)
            with pytest.raises(InvalidArgument, match=told) as caught:
                read_secret(str(file))
            assert "hush" not in str(caught.value)
        for path in (tmp_path / "none", tmp_path):
            with pytest.raises(InvalidArgument, match="cannot read"):
                read_secret(str(path))

    def test_permissions(self, tmp_path: Path) -> None:
        file = tmp_path / "password"
        file.write_text("hush")
        for mode, is_hinted in ((0o600, False), (0o440, False), (0o644, True), (0o602, True)):
            file.chmod(mode)
            assert bool(read_secret(str(file)).exposure) == is_hinted

    @given(
        st.sampled_from(
            [
                "redis://h",
                "redis://u@h:1/2",
                "rediss://u:@h/0?ca=x",
                "unix:///run/redis.sock?db=2",
                "unix://u@/run/redis.sock",
                "redis+sentinel://u@a:1,b:2/primary/3?sentinel_password=s",
            ]
        ),
        PASSWORDS,
    )
    def test_it_is_the_password_of_the_same_address(self, url: str, password: str) -> None:
        before, after = RedisAddress.parse(url), RedisAddress.parse(with_password(url, password))
        assert after.login.password == password
        assert after.login.username == before.login.username
        assert str(after) == str(before)

    @given(PASSWORDS)
    def test_no_password_is_shown(self, text: str) -> None:
        password = f"hush{text.translate(str.maketrans('', '', string.punctuation))}"
        for url in ("redis://u@h/1", "unix:///s?db=1", "redis+sentinel://a,b/p/0"):
            with_it = with_password(url, password)
            assert "hush" in with_it
            assert "hush" not in mask_passwords(with_it)
        assert "hush" not in mask_passwords(
            f"redis+sentinel://a/p?sentinel_password={password}&x=1"
        )
        assert mask_passwords("redis://u@h/1?x=1") == "redis://u@h/1?x=1"
        assert mask_passwords("auto") == "auto"
        assert mask_passwords("embedded:/a@b:c") == "embedded:/a@b:c"


def seen_by_others(pid: int) -> bytes:
    """Return the command line in the process list."""
    return b"".join(Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ"))


class ProgramTests(CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.directory = folder_of(self)

    def write(self, name: str, text: str, mode: int = 0o600) -> str:
        path = self.directory / name
        path.write_text(text)
        path.chmod(mode)
        return str(path)

    async def test_twistd_runs_on_a_file_with_the_password_in_another(self) -> None:
        server = start_server(self, "--requirepass", "hush-hush")
        password = self.write("password", "hush-hush\n")
        file = self.write(
            "bus.toml",
            f'redis = "{server.url}"\nredis-password-file = "{password}"\nadmin = "none"\n'
            f'websocket = ["tcp:{free_port()}:interface=127.0.0.1"]\nname = "of-the-file"\n',
        )
        program = twistd("--config", file, fork=False)
        self.addCleanup(program.kill)
        await program.says("is ready")
        with server.client(password="hush-hush") as client:
            names = {connection["name"] for connection in client.client_list()}
        assert "of-the-file.client" in names
        assert b"hush" not in seen_by_others(program.pid)
        self.write("password", "hush-hush\n", 0o604)
        again = twistd("--config", file, "--websocket", f"tcp:{free_port()}:interface=127.0.0.1")
        self.addCleanup(again.kill)
        await again.says("is ready")
        assert f"everyone on this machine can read or change {password}" in again.output
        assert "hush" not in program.output + again.output

    async def test_twistd_reports_all_mistakes_and_does_not_start(self) -> None:
        file = self.write("bus.toml", 'redis = "redis://:hush@h/x"\n\nmax-clients = -1\n')
        program = twistd("--config", file, "--origin", "x y")
        self.addCleanup(program.kill)
        assert await program.ended() == 1
        lines = program.output.splitlines()
        assert [line.rpartition(": ")[0].split(": ")[:2] for line in lines] == [
            ["twistd opentera-bus", "--origin"],
            ["twistd opentera-bus", f"{file}:1"],
            ["twistd opentera-bus", f"{file}:3"],
        ]
        assert "hush" not in program.output

    async def test_config_check(self) -> None:
        right = self.write("right.toml", 'name = "n"\n')
        result = await self.run_command("config", "check", right)
        assert result == (0, "", f"opentera-bus: {right}: no mistakes\n")
        wrong = self.write("wrong.toml", "nam = 5\nmax-clients = -1\n")
        result = await self.run_command("config", "check", wrong)
        assert (result.status, result.output) == (1, "")
        assert result.errors == (
            f"opentera-bus: {wrong}:1: nam: unknown option; did you mean name?\n"
            f"opentera-bus: {wrong}:2: max-clients: expected an integer ≥ 0, not '-1'\n"
        )

    async def test_config_show_masks_secrets(self) -> None:
        file = self.write("a.toml", 'redis = "redis://u:hush@h/0"\nuser-manager = true\n')
        result = await self.run_command("config", "show", file)
        assert (result.status, result.errors) == (0, "")
        shown: dict[str, Any] = json.loads(result.output)
        assert shown["redis"] == {"value": "redis://u:***@h/0", "from": f"{file}:1"}
        assert shown["user-manager"] == {"value": True, "from": f"{file}:2"}
        assert shown["max-clients"]["from"] == "default"
        on_terminal = self.start_command("config", "show", file, terminal=True)
        assert await on_terminal.ended() == 0
        assert "redis://u:***@h/0" in on_terminal.output
        assert "hush" not in on_terminal.output

    async def test_the_command_line_takes_a_password_from_a_file(self) -> None:
        server = start_server(self, "--requirepass", "hush-hush")
        password = self.write("password", "hush-hush\n")
        wrong = self.write("wrong", "hush-no\n")
        results = await gatherResults(
            [
                self.run_command("--redis-password-file", password, "delete", "x", url=server.url),
                self.run_command("delete", "x", url=server.url, REDIS_PASSWORD_FILE=password),
                self.run_command(
                    *("--timeout", "1", "--redis-password-file", wrong, "delete", "x"),
                    url=server.url,
                ),
                self.run_command("--redis-password-file", "/none", "delete", "x", url=server.url),
                self.run_command(
                    *("--redis-password-file", password, "delete", "x"), url="redis://:hush@h"
                ),
            ]
        )
        assert results[0] == results[1] == (0, "0\n", "")
        assert [result.status for result in results[2:]] == [1, 2, 2]
        assert "refuses the user or the password" in results[2].errors
        assert "cannot read /none" in results[3].errors
        assert "both have a password" in results[4].errors
        assert not any("hush" in result.errors for result in results)


def test_the_file_in_the_docs_is_valid(tmp_path: Path) -> None:
    (block,) = re.findall(
        r"^```toml\n(.*?)^```",
        (ROOT / "docs" / "how-to" / "running.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    password = tmp_path / "password"
    password.write_text("hush")
    file = tmp_path / "bus.toml"
    file.write_text(re.sub(r"/etc/\S+password", str(password), block))
    parse(file)
