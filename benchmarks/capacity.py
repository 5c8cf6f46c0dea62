"""Capacity of a machine of given size, computed from measurements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from attrs import frozen

from benchmarks.report import digits, markdown

KERNEL: Final = 4.0
"""KiB of the kernel for an idle socket: assumed, since the gateway's memory leaves it out."""

MANY: Final = 1_000
"""Receivers of an event that has many."""

FEW: Final = 10

_MEMORY: Final = "memory each of 1,000"
_BASE: Final = "memory before the first"
_LOGIN: Final = "gateway's processor time"
_EVENT: Final = "cost of an event, {:,} clients of one topic"


@frozen
class Machine:
    """A machine on which a gateway runs beside its Redis.

    Attributes:
        what: Description of its size.
        memory: MiB for the gateway; the rest is for the system and Redis.
        share: Share of one core for the gateway.
    """

    what: str
    memory: float
    share: float


MACHINES: Final = (
    Machine("1 core, 512 MiB", 256, 0.5),
    Machine("2 cores, 4 GiB", 3_072, 0.8),
)


@frozen
class Costs:
    """Costs of a gateway.

    Attributes:
        base: MiB of memory before the first websocket.
        websocket: KiB of memory for each that is open, the kernel's in it.
        login: µs of processor time for each.
        event: µs of processor time for each, however many receive it.
        delivery: µs of processor time for each that receives an event.
    """

    base: float
    websocket: float
    login: float
    event: float
    delivery: float

    @classmethod
    def of(cls, figures: Iterable[Mapping[str, Any]]) -> Costs:
        """From the results of a run.

        Raises:
            KeyError: a figure is not there, by its name.
        """
        ours = {figure["name"]: figure["ours"]["median"] for figure in figures}
        few, many = ours[_EVENT.format(FEW)], ours[_EVENT.format(MANY)]
        delivery = (many - few) / (MANY - FEW)
        return cls(
            base=ours[_BASE],
            websocket=ours[_MEMORY] + KERNEL,
            login=ours[_LOGIN],
            event=few - FEW * delivery,
            delivery=delivery,
        )

    def websockets(self, machine: Machine) -> float:
        """Return the number of websockets that fit into memory."""
        return (machine.memory - self.base) * 1024 / self.websocket

    def logins(self, machine: Machine) -> float:
        """Return the logins per second."""
        return 1e6 * machine.share / self.login

    def events(self, machine: Machine, receivers: int) -> float:
        """Return the events per second with that many receivers each."""
        return 1e6 * machine.share / (self.event + receivers * self.delivery)


def text(figures: Iterable[Mapping[str, Any]]) -> str:
    """The costs and what the machines carry, as tables; or which figure is missing."""
    try:
        costs = Costs.of(figures)
    except KeyError as error:
        return f"This run has not measured: {error.args[0]}."
    needed = [
        ("`base`", "`websocket`", "`login`", "`event`", "`delivery`"),
        (
            f"{digits(costs.base)} MiB",
            f"{digits(costs.websocket)} KiB",
            *(f"{digits(cost)} µs" for cost in (costs.login, costs.event, costs.delivery)),
        ),
    ]
    carried = [
        (
            "machine",
            "for the gateway",
            "websockets",
            "logins/s",
            "all back after a restart",
            "events/s to one each",
            f"events/s to {MANY:,} each",
        )
    ]
    for machine in MACHINES:
        websockets, logins = costs.websockets(machine), costs.logins(machine)
        carried.append(
            (
                machine.what,
                f"{machine.memory:,.0f} MiB, {machine.share:g} of a core",
                digits(websockets),
                digits(logins),
                f"{digits(websockets / logins)} s",
                digits(costs.events(machine, 1)),
                digits(costs.events(machine, MANY)),
            )
        )
    return f"{markdown(needed)}\n\n{markdown(carried)}"
