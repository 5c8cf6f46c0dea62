"""A user's program with its own contracts and a test on a `MemoryBus`, under strict types."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.message import Message
from twisted.internet.defer import Deferred, succeed

from opentera_twisted import Bus, Delivery, Procedures, Subscription
from opentera_twisted.aio import AsyncioBus
from opentera_twisted.blocking import BlockingBus
from opentera_twisted.gateway import (
    NOBODY,
    Audience,
    DefaultPolicy,
    Gateway,
    IAccessPolicy,
    Identity,
    IIdentityResolver,
    IPreparedPolicy,
    Kind,
    RpcAccess,
    RpcIdentities,
)
from opentera_twisted.testing import MemoryBus, result_of


class Directory:
    def resolve(self, kind: Kind, uuid: str) -> Deferred[Identity | None]:
        return succeed(Identity(kind, uuid, name="Ada"))


class SlowDirectory:
    async def resolve(self, kind: Kind, uuid: str) -> Identity | None:
        return None


class Policy:
    def topics(self, identity: Identity) -> Iterable[str]:
        return [f"service.{identity.project}.events"]

    def audience(self, topic: str, event: Message) -> Audience:
        return NOBODY

    async def prepare(self, identity: Identity) -> None:
        pass

    def forget(self, identity: Identity) -> None:
        pass


resolvers: list[IIdentityResolver] = [Directory(), SlowDirectory()]
policies: list[IAccessPolicy] = [DefaultPolicy(), Policy()]
prepared: IPreparedPolicy = Policy()


async def redis_results(bus: Bus, asyncio_bus: AsyncioBus) -> None:
    count: int = await bus.redis.hset("hash", "field", 1.5)
    fields: dict[bytes, bytes] = await asyncio_bus.redis.hgetall("hash")
    text: bytes | None = await bus.redis.get("text")
    print(count, fields, text, await bus.redis.sinter(["a", "b"]))


def add(a: int, b: int = 0) -> int:
    return a + b


def memory_results() -> None:
    bus = MemoryBus()
    Gateway(bus, identities=SlowDirectory(), policy=Policy())
    Gateway(bus, identities=RpcIdentities(bus, "service.A"), policy=RpcAccess(bus, "service.A"))
    value: bytes | None = result_of(bus.variables.get("a"))
    print(value)

    def handler(delivery: Delivery) -> None:
        print(delivery.payload)

    subscription: Subscription = result_of(bus.subscribe("a", handler))
    result_of(subscription.cancel())
    procedures = Procedures(version="1")
    procedures.expose(add)
    result_of(result_of(bus.serve_service("Sum", procedures)).stop())
    print(result_of(bus.call_service("Sum", "add", 1, 2)))
    payloads: list[bytes] = bus.published_on("a")
    print(payloads)


def blocking_results() -> None:
    with BlockingBus("redis://127.0.0.1:6379/0") as bus:
        value: bytes | None = bus.variables.get("a")
        print(value, bus.call("module", "procedure", 1))
        items: list[bytes] = bus.redis.lrange("list", 0, -1)
        print(items)
