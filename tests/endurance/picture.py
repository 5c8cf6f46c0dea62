"""The footprints over time, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.plots import STYLE, color

from .footprint import Footprint, Measured

_UNITS: Final = {"memory": "memory, MB", "objects": "objects", "files": "open files"}


def draw(path: Path, measured: Sequence[Measured], every: float, restarts: Sequence[float]) -> None:
    """Write an SVG file.

    Args:
        path: path of the file.
        measured: the processes.
        every: seconds between samples.
        restarts: when Redis was restarted, in seconds since the start.

    Raises:
        ImportError: matplotlib is not installed; it is in the extra ``bench``.
    """
    import matplotlib as mpl  # noqa: PLC0415 (only who wants pictures needs it)
    from matplotlib.figure import Figure  # noqa: PLC0415

    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE):
        canvas = Figure(figsize=(7.2, 6), layout="constrained")
        for axes, name in zip(
            canvas.subplots(len(Footprint._fields), sharex=True), Footprint._fields, strict=True
        ):
            for number, process in enumerate(measured):
                minutes = [place * every / 60 for place in range(len(process.samples))]
                values = [getattr(sample, name) for sample in process.samples]
                axes.plot(minutes, values, color=color(number), label=process.name, linewidth=1)
            for restart in restarts:
                axes.axvline(restart / 60, color="#d1d5db", linewidth=0.8, zorder=0)
            axes.set_ylabel(_UNITS[name])
            axes.set_ylim(bottom=0)
        axes.set_xlabel("minutes; grey lines: Redis restarted, and empty")
        canvas.axes[0].legend(frameon=False, loc="lower right")
        canvas.savefig(path, metadata={"Date": None})
