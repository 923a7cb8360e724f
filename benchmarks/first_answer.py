"""How long until something happens: the first durable answer, and the recovery from a crash.

Each round is a fresh home, a fresh server and a fresh kernel. Run it on a quiet machine:

    .venv/bin/python benchmarks/first_answer.py --rounds 5
"""

import argparse
import os
import statistics
import tempfile
from pathlib import Path

import nbformat
from jupyter_client.manager import start_new_kernel

from tour import install

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "01_durable_execution.ipynb"
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
_served = time.perf_counter() - _began
await question.result()
assert question.journal.attempts("get weather") == [2]
print(time.perf_counter() - _began - 0.5)
"""


def snippets() -> str:
    """Return the first cell of the notebook and those that make the agent."""
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    agent = [c.source for c in cells if "snippet" in c.metadata.get("tags", [])]
    return "\n".join([next(c.source for c in cells if c.cell_type == "code"), *agent])


def one_round() -> tuple[float, float]:
    """Return seconds to the first answer, and seconds of recovery beyond the step's own time."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["TOUR_HOME"] = home
        manager, client = start_new_kernel(extra_arguments=["--log-level=ERROR"])
        said: list[str] = []

        def run(code: str) -> None:
            reply = client.execute_interactive(code, timeout=60, output_hook=hear)
            assert reply["content"]["status"] == "ok", reply["content"]

        def hear(message: dict[str, dict[str, str]]) -> None:
            said.append(message["content"].get("text", ""))

        try:
            run(f"{CLOCK}\n{snippets()}\n{FIRST_ANSWER}")
            first = float("".join(said).split()[-1])
            run(RECOVERY)
            return first, float("".join(said).split()[-1])
        finally:
            run("tour.server.down()")
            manager.shutdown_kernel(now=True)
            client.stop_channels()


def main() -> None:
    """Print the medians of some rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    os.environ["RESTATE_SERVER"] = str(install.install())
    rounds = [one_round() for _ in range(parser.parse_args().rounds)]
    for name, seconds in zip(
        ("first durable answer", "recovery"), zip(*rounds, strict=True), strict=True
    ):
        low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
        print(f"{name:22} median {middle:.2f} s   ({low:.2f} to {high:.2f}, {len(seconds)} rounds)")


if __name__ == "__main__":
    main()
