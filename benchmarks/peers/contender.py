"""One contender in a process of its own: what it must be able to do, and how it is timed.

All of them take the same arguments and print one line of JSON a row. In the folder `benchmarks`:

    python -m peers.plain_asyncio warm --folder /tmp/empty --rows agent,step-10
"""

import argparse
import asyncio
import json
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from peers import work

__all__ = ["CUT_OFF", "ROWS", "Contender", "main"]

STEP_SECONDS = 0.2
CUT_OFF: work.Job = {"kind": "steps", "count": 10, "seconds": 0.2}
WARM_UP = 3


def _steps(count: int) -> work.Job:
    return {"kind": "steps", "count": count, "seconds": 0}


def _fan_out(count: int) -> work.Job:
    return {"kind": "fan-out", "count": count, "seconds": STEP_SECONDS}


# Row: the job, and how often it is done in a round, if it does not take too long.
ROWS: dict[str, tuple[work.Job, int]] = {
    "agent": (work.AGENT, 40),
    "agent-parallel": (work.AGENT | {"parallel": True}, 40),
    "step-1": (_steps(1), 40),
    "step-10": (_steps(10), 20),
    "step-100": (_steps(100), 5),
    "fan-out-1": (_fan_out(1), 5),
    "fan-out-8": (_fan_out(8), 5),
    "fan-out-64": (_fan_out(64), 5),
}


class Contender(ABC):
    """An engine that does the jobs of `work`, set up as its documentation has it.

    Attributes:
        packages: whose versions are told.
        durability: what has reached the disk when a step is over.
        watcher: who notices that the process has died.
    """

    packages: tuple[str, ...] = ()
    durability = ""
    watcher = ""

    def __init__(self, folder: Path) -> None:
        """Keep all data in this folder; it may hold what an earlier process has left."""
        self.folder = folder

    @abstractmethod
    async def start(self) -> None:
        """Get ready to work."""

    @abstractmethod
    async def run(self, job: work.Job) -> Any:
        """Do a job and return its result."""

    async def begin(self, job: work.Job) -> None:
        """Begin a job that this process will not live to finish."""
        await self.run(job)

    @abstractmethod
    async def resume(self, job: work.Job) -> Any:
        """Finish the job that an earlier process has begun, and return its result."""

    async def stop(self) -> None:  # noqa: B027, most have nothing to stop
        """Stop what has been started; called by another process if the first one was killed."""


async def _timed(contender: Contender, job: work.Job) -> float:
    """Do a job, make sure that it was done, and return how many seconds it took."""
    before = work.ledger(contender.folder)
    began = time.perf_counter()
    result = await contender.run(job)
    took = time.perf_counter() - began
    work.check(job, result, work.ledger(contender.folder) - before)
    return took


async def _row(contender: Contender, row: str, share: float, seconds: float) -> list[float]:
    """Time one row: as often as asked for, or as often as there is time for."""
    job, times = ROWS[row]
    for _ in range(max(1, round(WARM_UP * share))):
        await _timed(contender, job)
    end = time.monotonic() + seconds
    took = [await _timed(contender, job)]
    while len(took) < times * share and time.monotonic() < end:
        took.append(await _timed(contender, job))
    return took


async def _do(contender: Contender, chosen: argparse.Namespace) -> None:
    told = sys.stdout
    sys.stdout = sys.stderr  # whatever an engine prints, the lines of JSON stay alone
    if chosen.command == "stop":
        return await contender.stop()
    try:
        await contender.start()
        async for line in _lines(contender, chosen):
            print(json.dumps(line), file=told, flush=True)
        print(json.dumps({"about": _about(contender)}), file=told)
    finally:
        await contender.stop()
    return None


async def _lines(contender: Contender, chosen: argparse.Namespace) -> AsyncIterator[dict[str, Any]]:
    """Do what is asked for, and yield what is to be told."""
    match chosen.command:
        case "warm":
            for row in chosen.rows.split(","):
                yield {
                    "row": row,
                    "seconds": await _row(contender, row, chosen.share, chosen.seconds),
                }
        case "first":
            await _timed(contender, work.AGENT)
            yield {"row": "first"}
        case "begin":
            await contender.begin(CUT_OFF)
            await asyncio.Event().wait()
        case "resume":
            yield {"row": "recovery", "result": await contender.resume(CUT_OFF)}


def _about(contender: Contender) -> dict[str, str]:
    return {
        "version": ", ".join(f"{name} {version(name)}" for name in contender.packages),
        "durability": contender.durability,
        "watcher": contender.watcher,
    }


def main(contender: type[Contender]) -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["warm", "first", "begin", "resume", "stop"])
    parser.add_argument("--folder", type=Path, required=True, help="for the data")
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--share", type=float, default=1, help="of the usual number of runs")
    parser.add_argument("--seconds", type=float, default=8, help="that a row may take at most")
    chosen = parser.parse_args()
    work.keep_ledger(chosen.folder)
    asyncio.run(_do(contender(chosen.folder), chosen))
