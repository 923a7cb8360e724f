"""How long until something happens in a kernel: the first durable answer, and the recovery.

Each round is a fresh home, a fresh server and a fresh kernel with the agent of notebook 1. Run it
on a quiet machine:

    .venv/bin/python benchmarks/first_answer.py --rounds 5
"""

import argparse
import statistics
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.helpers.fresh_home import forget, fresh_home  # noqa: E402, it is no package
from tests.helpers.kernels import Kernel  # noqa: E402

NOTEBOOK = ROOT / "notebooks" / "01_durable_execution.ipynb"
CLOCK = "import time; _began = time.perf_counter()"
FIRST_ANSWER = """
endpoint = tour.serve(weather)
answer = await tour.call(run, WeatherPrompt())
assert answer.result == "San Francisco: 23 °C, sunny."
print(time.perf_counter() - _began)
"""
RECOVERY = """
import asyncio
async def fetch_weather(city):
    await asyncio.sleep(0.5)
    return city
question = await tour.send(run, WeatherPrompt())
await question.until("get weather")
endpoint.crash()
await question.until("backing-off")
_began = time.perf_counter()
endpoint = tour.serve(weather)
await question.result()
assert question.journal.attempts("get weather") == [2]
print(time.perf_counter() - _began - 0.5)
"""


def snippets() -> str:
    """Return the first cell of the notebook and those that make the agent."""
    cells = nbformat.read(NOTEBOOK, as_version=4).cells  # type: ignore[no-untyped-call]
    agent = [c.source for c in cells if "snippet" in c.metadata.get("tags", [])]
    return "\n".join([next(c.source for c in cells if c.cell_type == "code"), *agent])


def one_round() -> tuple[float, float]:
    """Return seconds to the first answer, and seconds of recovery beyond the step's own time."""
    with fresh_home(), Kernel() as kernel:
        first = kernel.good(f"{CLOCK}\n{snippets()}\n{FIRST_ANSWER}", timeout=60)
        recovery = kernel.good(RECOVERY, timeout=60)
    seconds = [float(cell.stdout.split()[-1]) for cell in (first, recovery)]
    return seconds[0], seconds[1]


def main() -> None:
    """Print the medians of some rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    forget("PYTHONDONTWRITEBYTECODE")  # a learner's kernel does not compile the package either
    rounds = [one_round() for _ in range(parser.parse_args().rounds)]
    for name, seconds in zip(
        ("first durable answer", "recovery"), zip(*rounds, strict=True), strict=True
    ):
        low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
        print(f"{name:22} median {middle:.2f} s   ({low:.2f} to {high:.2f}, {len(seconds)} rounds)")


if __name__ == "__main__":
    main()
