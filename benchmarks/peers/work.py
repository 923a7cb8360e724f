"""The work that every contender does, in the same code; only what makes a step durable differs.

Each step appends a line to a ledger when it begins. What ran, and how often, is judged by that
file, not by what an engine says of itself.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Any

__all__ = [
    "AGENT",
    "STEPS",
    "Gather",
    "Job",
    "Step",
    "check",
    "keep_ledger",
    "ledger",
    "perform",
]

Job = dict[str, Any]  # JSON, because it goes through every engine
Step = Callable[..., Awaitable[Any]]  # what makes a step of a function and its arguments
Gather = Callable[..., Awaitable[list[Any]]]

LEDGER, FILE = "ledger", "BENCH_LEDGER"
AGENT: Job = {"kind": "agent", "parallel": False}
TOOLS = ["weather", "traffic", "events"]
CITY = "Oslo"
ANSWER = "Oslo: weather good; Oslo: traffic good; Oslo: events good"


async def ask_model(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Ask for every tool at first, and sum up what they have said at last."""
    _note("model")
    reports = [message["content"] for message in messages if message["role"] == "tool"]
    if reports:
        return {"role": "assistant", "content": "; ".join(reports)}
    return {"role": "assistant", "tool_calls": [{"name": name, "city": CITY} for name in TOOLS]}


async def use_tool(name: str, city: str) -> str:
    """Report on a city at once."""
    _note(name)
    return f"{city}: {name} good"


async def do_step(number: int, seconds: float) -> int:
    """Take so many seconds, and return the step's number."""
    _note(str(number))
    if seconds:
        await asyncio.sleep(seconds)
    return number


STEPS: list[Callable[..., Awaitable[Any]]] = [ask_model, use_tool, do_step]


async def perform(job: Job, step: Step, gather: Gather) -> Any:
    """Do a job, with the steps of an engine, and with its way to wait for several at once."""
    match job["kind"]:
        case "agent":
            return await _agent(job["parallel"], step, gather)
        case "steps":
            return sum([await step(do_step, n, job["seconds"]) for n in range(job["count"])])
        case "fan-out":
            return sum(
                await gather(*(step(do_step, n, job["seconds"]) for n in range(job["count"])))
            )
    raise ValueError(f"no such job: {job}")


async def _agent(parallel: bool, step: Step, gather: Gather) -> str:
    messages: list[dict[str, Any]] = [{"role": "user", "content": f"How is {CITY}?"}]
    reply = await step(ask_model, messages)
    calls = [(call["name"], call["city"]) for call in reply["tool_calls"]]
    if parallel:
        reports = await gather(*(step(use_tool, *call) for call in calls))
    else:
        reports = [await step(use_tool, *call) for call in calls]
    messages = [*messages, reply, *({"role": "tool", "content": report} for report in reports)]
    return str((await step(ask_model, messages))["content"])


def ledger(folder: Path) -> Counter[str]:
    """Return how often each step has begun so far, of those that were done on this folder."""
    path = folder / LEDGER
    return Counter(path.read_text().split() if path.exists() else [])


def keep_ledger(folder: Path) -> None:
    """Let the steps of this process, and of those that it starts, write into the folder."""
    os.environ[FILE] = str(folder / LEDGER)


def check(job: Job, result: Any, ran: Counter[str]) -> None:
    """Make sure that a job was done: the right answer, and every step once.

    Raises:
        ValueError: it was not.
    """
    if job["kind"] == "agent":
        right, steps = ANSWER, Counter(["model", *TOOLS, "model"])
    else:
        right, steps = str(sum(range(job["count"]))), Counter(map(str, range(job["count"])))
    if str(result) != right:
        raise ValueError(f"{job} gave {result!r}, not {right!r}")
    if ran != steps:
        raise ValueError(f"{job} ran {dict(ran)}, not {dict(steps)}")


def _note(line: str) -> None:
    os.write(_file(), f"{line}\n".encode())


@cache
def _file() -> int:
    return os.open(os.environ[FILE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
