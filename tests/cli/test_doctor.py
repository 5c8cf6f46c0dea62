"""``opentera-bus doctor``: each check by itself, and badly configured servers."""

from __future__ import annotations

import json
import re
import shlex
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import redis

from opentera_twisted import Procedures, SessionKeys
from opentera_twisted.cli.doctor import programs, rights, round_trip
from opentera_twisted.cli.doctor.programs import ListeningServer
from opentera_twisted.holders import REPORTS
from opentera_twisted.link import RedisAddress
from opentera_twisted.program.redis_checks import server
from opentera_twisted.program.redis_checks.finding import Finding, worst
from tests.helpers.cluster import add_user, shared_cluster
from tests.helpers.commands import CommandTestCase
from tests.helpers.processes import twistd
from tests.helpers.support import GUARD, ROOT, UUID, acl, folder_of, free_port, start_server, until
from tests.helpers.websockets import connect

MODULE = "module.TeraServer.UserManagerModule"


def test_the_overall_verdict_is_the_worst() -> None:
    assert worst([]) == "ok"
    one = [Finding("a", "ok", ""), Finding("b", "unknown", "")]
    assert worst(one) == "unknown"
    assert worst([*one, Finding("c", "wrong", ""), Finding("d", "warning", "")]) == "wrong"


class TestServer:
    @pytest.mark.parametrize(
        ("text", "verdict"),
        [("7.2.4", "ok"), ("6.2.0", "ok"), ("6.0.16", "wrong"), ("5.0", "wrong"), ("10.0", "ok")],
    )
    def test_version(self, text: str, verdict: str) -> None:
        assert server.version({"redis_version": text}).verdict == verdict

    def test_open_files(self) -> None:
        assert server.open_files(1024).verdict == "warning"
        assert server.open_files(65_536).verdict == "ok"

    def test_valkey_is_called_by_its_name(self) -> None:
        info = {"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "9.1.2"}
        assert server.version(info) == Finding("version", "ok", "Valkey 9.1.2")

    @pytest.mark.parametrize(
        ("policy", "limit", "verdict"),
        [
            ("noeviction", "0", "ok"),
            ("noeviction", "1000", "ok"),
            ("allkeys-lru", "1000", "wrong"),
            ("allkeys-random", "0", "warning"),
            ("volatile-ttl", "1000", "warning"),
            ("volatile-lru", "0", "warning"),
        ],
    )
    def test_eviction(self, policy: str, limit: str, verdict: str) -> None:
        found = server.eviction({"maxmemory_policy": policy, "maxmemory": limit})
        assert found.verdict == verdict
        assert bool(found.remedy) == (verdict != "ok")

    @pytest.mark.parametrize(
        ("used", "limit", "verdict"),
        [("5", "0", "ok"), ("5", "100", "ok"), ("90", "100", "warning"), ("100", "100", "wrong")],
    )
    def test_memory(self, used: str, limit: str, verdict: str) -> None:
        assert server.memory({"used_memory": used, "maxmemory": limit}).verdict == verdict

    @pytest.mark.parametrize(
        ("pubsub", "closed", "verdict"),
        [
            ("33554432 8388608 60", "0", "ok"),
            ("33554432 8388608 60", "3", "warning"),
            ("0 0 0", "0", "warning"),
            ("4194304 0 0", "0", "warning"),
            ("100000 0 0", "0", "wrong"),
            ("33554432 1000 1", "0", "wrong"),
        ],
    )
    def test_output_buffer(self, pubsub: str, closed: str, verdict: str) -> None:
        limits = f"normal 0 0 0 slave 268435456 67108864 60 pubsub {pubsub}"
        info = {"client_output_buffer_limit_disconnections": closed}
        found = server.output_buffer(info, {"client-output-buffer-limit": limits})
        assert found.verdict == verdict

    def test_an_unreadable_output_buffer_limit(self) -> None:
        assert server.output_buffer({}, {}).verdict == "unknown"
        info = {"client_output_buffer_limit_disconnections": "1"}
        assert server.output_buffer(info, {}).verdict == "warning"

    @pytest.mark.parametrize(
        ("info", "config", "verdict"),
        [
            ({"aof_enabled": "1"}, {}, "ok"),
            ({"aof_enabled": "1", "aof_last_write_status": "err"}, {}, "wrong"),
            ({"rdb_last_bgsave_status": "err"}, {"save": "3600 1"}, "wrong"),
            ({"aof_enabled": "0"}, {"save": "3600 1"}, "ok"),
            ({"aof_enabled": "0"}, {"save": ""}, "warning"),
            ({"aof_enabled": "0"}, {}, "unknown"),
            ({"loading": "1"}, {}, "warning"),
        ],
    )
    def test_persistence(self, info: Any, config: Any, verdict: str) -> None:
        assert server.persistence(info, config).verdict == verdict


class TestJourney:
    @pytest.mark.parametrize(
        ("offset", "uncertainty", "verdict"),
        [
            (0.0, 0.001, "ok"),
            (-1.9, 0.0, "ok"),
            (3.0, 1.5, "ok"),  # a slow answer is not a wrong clock
            (-3.0, 0.1, "warning"),
            (7200.0, 0.1, "wrong"),
        ],
    )
    def test_clock(self, offset: float, uncertainty: float, verdict: str) -> None:
        assert round_trip.clock(offset, uncertainty).verdict == verdict

    def test_latency_is_the_median_of_the_round_trips(self) -> None:
        assert round_trip.latency([0.001] * 19 + [5.0]).verdict == "ok"
        assert round_trip.latency([0.05] * 20).verdict == "warning"
        assert round_trip.latency([0.3] * 20).verdict == "wrong"


class TestPrograms:
    def test_servers_are_listed_by_topic(self) -> None:
        served = [
            ListeningServer(MODULE, None),
            ListeningServer("service.One", 1),
            ListeningServer("service.Both", 2, is_shared=False),
            ListeningServer("service.Shared", 3, is_shared=True),
        ]
        found = {row.check: row.verdict for row in programs.servers(served)}
        assert found == {
            f"served: {MODULE}": "ok",
            "served: service.One": "ok",
            "served: service.Both": "warning",
            "served: service.Shared": "ok",
        }
        (missing,) = programs.servers([])
        assert (missing.check, missing.verdict) == (f"served: {MODULE}", "warning")

    def test_two_programs_of_one_name(self) -> None:
        listed = (
            b"id=1 addr=10.0.0.1:5 name=gateway.client\n"
            b"id=2 addr=10.0.0.1:6 name=gateway.subscriber\n"
            b"id=3 addr=10.0.0.2:6 name=a.b.subscriber\n"
            b"id=4 addr=10.0.0.2:7 name=\n"
            b"id=5 addr=10.0.0.2:8 name=opentera-bus-cli.subscriber\n"
            b"id=6 addr=10.0.0.2:9 name=opentera-bus-cli.subscriber\n"
        )
        found = programs.names(programs.parse_clients(listed))
        assert (found.verdict, found.reason) == ("ok", "programs with a bus: a.b, gateway")
        listed += b"id=7 addr=10.0.0.3:6 name=gateway.subscriber\n"
        found = programs.names(programs.parse_clients(listed))
        assert found.verdict == "warning"
        assert "2 programs are named gateway (at 10.0.0.1:6, 10.0.0.3:6)" in found.reason


def online(client: redis.Redis) -> Callable[[], Awaitable[int]]:
    """Return the number of users online."""

    async def ask() -> int:
        return int(client.hlen("opentera.user_manager.online.user"))

    return ask


def test_every_command_of_a_script_is_a_right_to_check() -> None:
    package = ROOT / "opentera_twisted"
    texts = [path.read_text() for path in package.rglob("*.py")]
    called = {name for text in texts for name in re.findall(r"redis\.p?call\('([A-Z]+)'", text)}
    assert called
    asked = {right.command[0] for purpose in rights.purposes(1) for right in purpose.rights}
    assert called <= asked


class DoctorTests(CommandTestCase):
    async def examine(self, url: str, status: int, *arguments: str) -> dict[str, dict[str, str]]:
        """Return the checks by name after comparing the status."""
        patient = arguments or ("--timeout", str(GUARD))  # the machine may be busy
        result = await self.run_command(*patient, "doctor", url=url)
        assert result.errors == ""
        found = json.loads(result.output)
        verdicts = {row["verdict"] for row in found["checks"]}
        assert result.status == status, found
        assert (found["verdict"] == "wrong") == ("wrong" in verdicts) == (status == 1)
        checks = {row["check"]: row for row in found["checks"]}
        assert len(checks) == len(found["checks"])
        for row in checks.values():
            assert row["reason"], row
            assert row["remedy"] or row["verdict"] in {"ok", "unknown"}, row
        return checks

    async def test_a_healthy_server(self) -> None:
        directory = folder_of(self)
        server = start_server(self, "--appendonly", "yes", "--dir", str(directory))
        with server.client() as client:
            client.config_set("min-string-size-avoid-copy-reply", 2**30)
        gateway = twistd(
            *("--redis", server.url, "--admin", "none", "--user-manager"),
            *("--websocket", f"tcp:{free_port()}:interface=127.0.0.1"),
        )
        self.addCleanup(gateway.kill)
        await gateway.says("is ready")
        checks = await until(
            lambda: self.examine(server.url, 0), lambda found: f"served: {MODULE}" in found
        )
        checks.pop("latency")  # slow on a busy machine
        assert {row["verdict"] for row in checks.values()} <= {"ok"}, checks
        assert checks["names"]["reason"] == "programs with a bus: opentera-bus"
        assert "append-only" in checks["persistence"]["reason"]

    async def test_a_server_that_may_lose_everything(self) -> None:
        server = start_server(
            self,
            *("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"),
            *("--client-output-buffer-limit", "pubsub 10000 0 0"),
        )
        checks = await self.examine(server.url, 1)
        assert checks["eviction"]["verdict"] == "wrong"
        assert "allkeys-lru may delete any variable" in checks["eviction"]["reason"]
        assert "maxmemory-policy noeviction" in checks["eviction"]["remedy"]
        assert checks["output buffer"]["verdict"] == "wrong"
        assert "closes a subscriber at 9.8 KiB" in checks["output buffer"]["reason"]
        assert checks["uncounted payloads"]["verdict"] == "warning"
        assert "16,384 bytes" in checks["uncounted payloads"]["reason"]
        assert checks["persistence"]["verdict"] == "warning"
        # The remedies are working commands.
        with server.client() as client:
            for check in ("eviction", "output buffer", "uncounted payloads"):
                remedy = checks[check]["remedy"].removesuffix(", also in redis.conf")
                client.execute_command(*shlex.split(remedy))
        checks = await self.examine(server.url, 0)
        for check in ("eviction", "output buffer", "uncounted payloads"):
            assert checks[check]["verdict"] == "ok", checks[check]

    async def test_a_replica(self) -> None:
        primary = start_server(self)
        directory = str(folder_of(self))  # the replica writes a copy of the data
        replica = start_server(self, "--replicaof", f"127.0.0.1 {primary.port}", "--dir", directory)
        checks = await self.examine(replica.url, 1)
        assert checks["role"]["verdict"] == "wrong"
        assert f"a replica of 127.0.0.1:{primary.port}" in checks["role"]["reason"]
        assert f"redis://127.0.0.1:{primary.port}" in checks["role"]["remedy"]
        assert "logins are answered 503" in checks["login"]["reason"]

    async def test_a_cluster_that_is_down(self) -> None:
        folder = str(folder_of(self))
        server = start_server(self, "--cluster-enabled", "yes", "--dir", folder)
        checks = await self.examine(server.url, 1)
        assert "CLUSTERDOWN" in checks["login"]["reason"]
        assert "--cluster check" in checks["login"]["remedy"]
        url = f"redis+cluster://127.0.0.1:{server.port}"
        assert checks["cluster"]["remedy"] == f"use the URL {url}"
        result = await self.run_command("services", url=server.url)
        assert (result.status, result.output) == (1, "")
        assert result.errors.endswith(f"is a node of a cluster; use the URL {url}\n")

    @pytest.mark.xdist_group("cluster")
    async def test_each_node_of_a_cluster(self) -> None:
        cluster = shared_cluster()
        checks = await self.examine(cluster.url, 0)
        for node in cluster.primaries:
            assert checks[f"role of 127.0.0.1:{node.port}"]["verdict"] == "ok"
            assert f"latency of 127.0.0.1:{node.port}" in checks
        for purpose in rights.purposes(0):
            assert checks[f"rights: {purpose.what}"]["verdict"] == "ok"
        add_user(self, "poor", "hush")
        *others, poor = cluster.primaries
        poor.execute("ACL", "SETUSER", "poor", "-get")
        replica = next(node for node in cluster.nodes if not node.is_primary)
        checks = await self.examine(f"redis+cluster://poor:hush@127.0.0.1:{replica.port}", 1)
        for node in (*others, poor):
            verdict = "wrong" if node is poor else "ok"
            assert checks[f"rights: logging in of 127.0.0.1:{node.port}"]["verdict"] == verdict

    def test_rights_on_a_cluster_name_sharded_commands(self) -> None:
        def rules(url: str) -> set[str]:
            address = RedisAddress.parse(url)
            found = [rights._on_cluster(purpose, address) for purpose in rights.purposes(0)]
            return {right.rules for purpose in found for right in purpose.rights}

        needed = rules("redis+cluster://a")
        assert f"+spublish &{REPORTS}" in needed
        assert f"+ssubscribe &{REPORTS}" in needed
        assert "+pubsub|shardnumsub" in needed
        assert "+subscribe &__redis__:invalidate" in needed
        assert "+ssubscribe &opentera.slot.*" in needed
        assert not any("numpat" in rules or "+publish" in rules for rules in needed)
        needed = rules("redis+cluster://a?pubsub=classic")
        assert {f"+publish &{REPORTS}", "+spublish &service.*", "+pubsub|numsub"} <= needed

    async def test_missing_rights_come_with_a_working_remedy(self) -> None:
        server = start_server(self)
        with server.client() as client:
            client.execute_command(
                *("ACL", "SETUSER", "poor", "on", ">hush", "resetchannels", "-@all"),
                *("+ping", "+eval", "+evalsha", "+acl|whoami"),
            )
        url = f"redis://poor:hush@127.0.0.1:{server.port}/0"
        checks = await self.examine(url, 1)
        lacking = {name for name, one in checks.items() if name.startswith("rights: ")}
        assert lacking == {f"rights: {purpose.what}" for purpose in rights.purposes(0)}
        needed = {name for name in lacking if checks[name]["verdict"] == "wrong"}
        assert needed == {
            "rights: logging in",
            "rights: events of websockets",
            "rights: presence",
        }
        assert {checks[name]["verdict"] for name in lacking - needed} == {"warning"}
        assert "poor may not" in checks["rights: presence"]["reason"]
        for check in ("server", "clock", "names", "served"):
            assert checks[check]["verdict"] == "unknown", checks[check]
        with server.client() as client:
            for name in lacking:
                client.execute_command(*shlex.split(checks[name]["remedy"]))
        checks = await self.examine(url, 0)
        assert {checks[name]["verdict"] for name in lacking} == {"ok"}, checks
        assert "hush" not in json.dumps(checks)
        # The user now has all rights of a gateway.
        port = free_port()
        gateway = twistd(
            *("--redis", url, "--admin", "none", "--user-manager"),
            *("--websocket", f"tcp:{port}:interface=127.0.0.1"),
        )
        self.addCleanup(gateway.kill)
        await gateway.says("is ready")
        keys = SessionKeys(await self.bus(url))
        for _ in range(2):
            client = await connect(port, f"/wss/user?id={await keys.issue('user', UUID)}")
        with server.client() as other:
            await until(online(other), lambda count: count == 1)
        gateway.send(signal.SIGTERM)
        assert (await client.closed)[0] == 1001
        await gateway.ended()
        assert "NOPERM" not in gateway.output, gateway.output

    async def test_the_gateway_of_the_acl_file_has_every_right(self) -> None:
        checks = await self.examine(self.gateway_url, 0)
        rights_of = {name for name in checks if name.startswith("rights: ")}
        assert rights_of
        lacking = {name for name in rights_of if checks[name]["verdict"] != "ok"}
        # Unneeded rights.
        assert lacking <= {
            "rights: calls",
            "rights: answering calls",
            "rights: watching variables",
            "rights: listing servers",
        }, checks
        assert checks["names"]["verdict"] == "unknown"
        assert checks["names"]["remedy"] == "give the user +client|list"

    async def test_rights_of_an_older_release_are_warned_of(self) -> None:
        (rules,) = re.findall(r"^user opentera-gateway on \S+ (.*)$", acl(), re.MULTILINE)
        server = start_server(self)
        missing = ("+hlen", "+pexpire", "+pubsub|numsub", "+pubsub|numpat")
        with server.client() as client:
            client.execute_command(
                *("ACL", "SETUSER", "older", "on", ">hush"),
                *(rule for rule in rules.split() if rule not in missing),
            )
        checks = await self.examine(f"redis://older:hush@127.0.0.1:{server.port}/0", 0)
        assert checks["rights: presence"]["verdict"] == "ok"
        beyond = checks["rights: presence at other gateways"]
        assert beyond["verdict"] == "warning"
        assert all(rule in beyond["remedy"] for rule in missing)
        manager = checks["rights: the user manager"]
        assert manager["verdict"] == "warning"
        assert "+hlen" in manager["remedy"]

    async def test_a_user_who_may_run_no_scripts(self) -> None:
        server = start_server(self)
        with server.client() as client:
            client.execute_command(
                "ACL", "SETUSER", "poor", "on", ">hush", "~*", "&*", "+@all", "-eval", "-evalsha"
            )
        checks = await self.examine(f"redis://poor:hush@127.0.0.1:{server.port}/0", 1)
        assert checks["rights"]["verdict"] == "wrong"
        assert checks["rights"]["remedy"] == "ACL SETUSER poor +eval +evalsha"

    async def test_an_unreachable_server_is_reported_at_once(self) -> None:
        server = start_server(self, "--requirepass", "hush")
        cases = {
            f"redis://127.0.0.1:{free_port()}": ("refused", "start Redis"),
            f"redis://:hush-no@127.0.0.1:{server.port}": ("WRONGPASS", "--redis-password-file"),
            server.url: ("asks for a password", "--redis-password-file"),
            "redis://nowhere.invalid": ("nowhere.invalid", "check the host"),
        }
        for url, (reason, remedy) in cases.items():
            # A timeout longer than the test.
            checks = await self.examine(url, 1, "--timeout", "1000")
            assert list(checks) == ["connection"]
            assert reason in checks["connection"]["reason"], checks
            assert remedy in checks["connection"]["remedy"], checks
            assert "hush" not in json.dumps(checks)

    async def test_a_server_that_does_not_answer(self) -> None:
        server = start_server(self)
        server.process.send_signal(signal.SIGSTOP)
        try:
            checks = await self.examine(server.url, 1, "--timeout", "1")
        finally:
            server.process.send_signal(signal.SIGCONT)
        assert list(checks) == ["connection"]
        assert "no answer for 1 seconds" in checks["connection"]["reason"]

    async def test_servers_and_duplicate_names_are_listed(self) -> None:
        for exclusive in (False, False, True, True):
            bus = await self.bus(name="twin")
            procedures = Procedures()
            await bus.serve_service(
                "Shared" if exclusive else "Both", procedures, exclusive=exclusive
            )
        checks = await self.examine(self.server.url, 0)
        assert checks["served: service.Both"]["verdict"] == "warning"
        assert "by 2 programs, each of which" in checks["served: service.Both"]["reason"]
        assert checks["served: service.Shared"]["verdict"] == "ok"
        assert checks[f"served: {MODULE}"]["verdict"] == "warning"
        assert checks["names"]["verdict"] == "warning"
        assert "4 programs are named twin" in checks["names"]["reason"]
        # Warnings count on request.
        result = await self.run_command("doctor", "--strict")
        assert result.status == 1

    async def test_nothing_is_changed(self) -> None:
        self.redis.set("a", "1")
        pubsub = self.redis.pubsub()
        self.addCleanup(pubsub.close)
        pubsub.psubscribe("*")
        await self.examine(self.server.url, 0)
        assert self.redis.keys("*") == [b"a"]
        self.redis.publish("end", "")
        told = iter(lambda: pubsub.get_message(timeout=GUARD)["channel"], b"end")
        requests = [channel for channel in told if channel != b"*"]  # that is its acknowledgement
        # It looks for servers, as `services` does, and publishes nothing else.
        assert all(topic.endswith(b".rpc") for topic in requests), requests

    async def test_a_table_on_a_terminal(self) -> None:
        command = self.start_command("doctor", terminal=True)
        assert await command.ended() == 0
        for text in ("verdict", "eviction", "noeviction", "→ CONFIG SET"):
            assert text in command.output
