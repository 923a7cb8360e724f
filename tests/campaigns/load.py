"""Many learners on one server at once, and many invocations one after the other.

    python -m tests.campaigns.load --learners 64 --turns 5 --invocations 1000

First every learner asks the weather agent of notebook 1 and holds a conversation with the chat of
notebook 3, all at the same time. Nothing may be lost, each conversation keeps its order, and no
model call is made twice. Then the weather agent is asked again and again, and after each tenth of
the way the table says what the processes and the disk have taken.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil

import tour
from tests.helpers.fresh_home import fresh_home
from tour import server
from tour.export import load

MB = 1_000_000


async def timed(took: list[float], handler: Callable[..., Any], arg: Any, key: Any = None) -> Any:
    """Call a handler, note how many seconds it took, and return its result."""
    began = time.perf_counter()
    run = await tour.call(handler, arg, key)
    took.append(time.perf_counter() - began)
    return run.result


async def learner(
    name: str, turns: int, weather: ModuleType, chat: ModuleType, took: list[float]
) -> None:
    """Play one learner, who takes turns with two agents."""
    for turn in range(turns):
        city = f"Town{name}"
        asked = {"prompt": f"What is the weather like in {city}?"}
        answer = await timed(took, weather.run, asked)
        assert answer == f"{city}: 23 °C, sunny.", answer
        await timed(took, chat.message, {"message": f"My turn is {turn}."}, name)
    history = (await tour.call(chat.get_history, key=name)).result
    said = [each["content"] for each in history if each["role"] == "user"]
    assert said == [f"My turn is {turn}." for turn in range(turns)], said


async def all_at_once(learners: int, turns: int, weather: ModuleType, chat: ModuleType) -> None:
    """Play all learners at once and print how long their requests took."""
    names = [f"{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(learners)]
    took: list[float] = []
    tour.offline.reset()
    began = time.perf_counter()
    await asyncio.gather(*(learner(name, turns, weather, chat, took) for name in names))
    elapsed = time.perf_counter() - began
    assert tour.offline.calls == learners * turns * 3, "a model call was made twice, or not at all"
    p95 = statistics.quantiles(took, n=20)[-1]
    print(
        f"{learners} learners at once, {turns} turns each: {len(took)} requests in {elapsed:.1f} s"
    )
    print(f"median {statistics.median(took) * 1000:.0f} ms, p95 {p95 * 1000:.0f} ms")


def on_disk(folder: Path) -> float:
    """Return what the files of a folder take on the disk, in MB."""
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file()) / MB


async def one_after_the_other(invocations: int, weather: ModuleType, home: Path) -> None:
    """Ask again and again, and print what it takes in memory and on disk."""
    running = psutil.Process(server.pid())
    print(
        f"{'invocations':>12} {'server MB':>10} {'endpoint MB':>12} {'disk MB':>8} {'ms each':>8}"
    )
    for tenth in range(11):
        began = time.perf_counter()
        for _ in range(invocations // 10 if tenth else 0):
            await tour.call(weather.run, {})
        each = (time.perf_counter() - began) / max(1, invocations // 10) * 1000
        memory = [process.memory_info().rss / MB for process in (running, psutil.Process())]
        row = (invocations // 10 * tenth, *memory, on_disk(home), each)
        print("{:>11} {:>10.0f} {:>12.0f} {:>8.0f} {:>8.1f}".format(*row))


def main() -> None:
    """Run both parts on a fresh server."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--learners", type=int, default=64)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--invocations", type=int, default=1000)
    chosen = parser.parse_args()
    with fresh_home() as home:
        tour.start()
        weather, chat = load("01"), load("03")
        tour.serve(weather.weather, chat.chat)
        asyncio.run(all_at_once(chosen.learners, chosen.turns, weather, chat))
        asyncio.run(one_after_the_other(chosen.invocations, weather, home))


if __name__ == "__main__":
    main()
