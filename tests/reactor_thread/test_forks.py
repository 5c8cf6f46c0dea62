"""Objects created before a fork and used in the child."""

from __future__ import annotations

from tests.helpers.processes import BlockingProgramTestCase
from tests.helpers.support import free_port
from tests.test_logs import logged

CHILD = """
import logging, multiprocessing
def in_child(function):
    child = multiprocessing.get_context("fork").Process(target=function)
    child.start()
    child.join()
    assert child.exitcode == 0
def logger_of(handler):
    logger = logging.getLogger("app")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    return logger
"""


class LogTests(BlockingProgramTestCase):
    def messages(self, name: str) -> list[str]:
        return [event.message for event in logged(self.redis.lrange(name, 0, -1))]

    async def logs(self, code: str, url: str | None = None) -> str:
        process = self.program(CHILD + code, url)
        assert await process.ended() == 0, process.output
        return process.output

    async def test_making_a_publisher_starts_no_reactor(self) -> None:
        code = """
log = logger_of(BlockingBus(url).log_publisher("me").handler())
log.info("from the parent")
print("reactor:", "twisted.internet.reactor" in sys.modules, flush=True)
in_child(lambda: BlockingBus(url).variables.set("a", "1"))
"""
        process = self.program(CHILD + code, fork=False)
        assert await process.ended() == 0, process.output
        assert "reactor: False" in process.output
        assert self.messages("log.info") == ["from the parent"]
        assert self.redis.get("a") == b"1"

    async def test_a_handler_works_in_a_child_of_a_used_bus(self) -> None:
        await self.logs("""
bus = BlockingBus(url)
log = logger_of(bus.log_publisher("me").handler())
bus.variables.set("a", "1")
log.info("from the parent")
in_child(lambda: [log.warning("from the child %d", number) for number in range(300)])
bus.variables.get("a")
""")
        assert self.messages("log.info") == ["from the parent"]
        assert self.messages("log.warning") == [f"from the child {n}" for n in range(300)]

    async def test_a_child_sends_no_queued_message_of_its_parent(self) -> None:
        await self.logs("""
bus = BlockingBus(url)
publisher = bus.log_publisher("me")
log = logger_of(publisher.handler())
begin = publisher._begin
publisher._begin = lambda: None
log.info("from the parent")
def child():
    publisher._begin = begin
    log.warning("from the child")
in_child(child)
begin()
""")
        assert self.messages("log.info") == ["from the parent"]
        assert self.messages("log.warning") == ["from the child"]

    async def test_a_lock_that_is_held_at_the_fork_is_free_in_the_child(self) -> None:
        await self.logs("""
publisher = BlockingBus(url).log_publisher("me")
log = logger_of(publisher.handler())
with publisher._lock:
    in_child(lambda: log.warning("from the child"))
""")
        assert self.messages("log.warning") == ["from the child"]

    async def test_a_publisher_of_a_bus_works_in_a_child(self) -> None:
        await self.logs("""
from twisted.internet import reactor
from opentera_twisted.logs import LogPublisher
bus = Bus(url, reactor=reactor)
publisher = LogPublisher(bus, "me")
log = logger_of(publisher.handler())
async def run():
    bus.startService()
    await bus.connected()
    in_child(lambda: log.warning("from the child"))
    log.info("from the parent")
    await publisher.flush()
    await bus.stopService()
    reactor.stop()
from twisted.internet.defer import ensureDeferred
def fork_in_reactor():
    ensureDeferred(run())
reactor.callWhenRunning(fork_in_reactor)
reactor.run()
""")
        assert self.messages("log.info") == ["from the parent"]
        assert self.messages("log.warning") == ["from the child"]

    async def test_a_publisher_made_before_daemonizing_uses_the_link(self) -> None:
        output = await self.logs("""
from twisted.internet import reactor
from opentera_twisted.logs import LogPublisher
bus = Bus(url, reactor=reactor, name="daemon")
publisher = LogPublisher(bus, "me")
log = logger_of(publisher.handler())
log.info("before")
if os.fork():
    assert os.wait()[1] == 0
    os._exit(0)
async def run():
    bus.startService()
    await bus.connected()
    log.info("after")
    await publisher.flush()
    print("orphan:", publisher._is_orphan, flush=True)
    reactor.stop()
from twisted.internet.defer import ensureDeferred
reactor.callWhenRunning(lambda: ensureDeferred(run()))
reactor.run()
""")
        assert self.messages("log.info") == ["before", "after"]
        assert "orphan: False" in output

    async def test_an_existing_logging_client_works_in_a_child(self) -> None:
        await self.logs(f"""
from opentera_twisted.opentera import LoggingClient
client = LoggingClient({{"hostname": "127.0.0.1", "port": {self.server.port}, "db": 0}}, "me")
client.log_info("sender", "before the reactor runs")
BlockingBus(url).variables.set("a", "1")
client.log_info("sender", "from the parent")
in_child(lambda: client.log_warning("sender", "from the child"))
BlockingBus(url).variables.get("a")
""")
        assert self.messages("log.info") == ["('before the reactor runs',)", "('from the parent',)"]
        assert self.messages("log.warning") == ["('from the child',)"]

    async def test_an_existing_client_works_in_a_child(self) -> None:
        await self.logs(f"""
from opentera_twisted.opentera import RedisClient
client = RedisClient({{"hostname": "127.0.0.1", "port": {self.server.port}, "db": 0}})
BlockingBus(url).variables.set("a", "1")
def child():
    assert client.redisGet("a") == b"1"
    client.redisSet("b", "2")
in_child(child)
assert client.redisGet("b") == b"2"
""")
        assert self.redis.get("b") == b"2"

    async def test_without_redis_messages_wait_for_the_next_one(self) -> None:
        url = f"redis://127.0.0.1:{free_port()}/0"
        output = await self.logs(
            """
from opentera_twisted.link.address import RedisAddress
publisher = BlockingBus(url).log_publisher("me")
log = logger_of(publisher.handler())
log.info("first")
while publisher._is_sending:
    time.sleep(0.01)
publisher._address = RedisAddress.parse(sys.argv[1].replace("redis://", "redis://x:y@"))
log.info("second")
print("dropped:", publisher.dropped, "waiting:", len(publisher._waiting), flush=True)
""",
            url,
        )
        assert "dropped: 0 waiting: 2" in output
