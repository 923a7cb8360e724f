"""The same durable work on several engines, side by side in one run.

    python benchmarks/side_by_side.py --rounds 5

In every round each contender does every row, in processes of its own and in an empty folder. The
table has the medians and, in brackets, how they compare with ours: the median of the rounds'
ratios, because a machine is not equally busy all the time.

agent: a model call, three tools and a model call, none of which takes any time; the tools one
after the other, or at once. step-N: a run of N steps that take none, by the step. fan-out-N: N
steps of 200 ms at once. recovery: a process is killed (SIGKILL) in the fifth of ten steps of
200 ms; from the start of the next process to the end of the run, less the six steps that were
left to do. first: from the start of a process, in an empty folder, to an agent's answer.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from peers import work
from peers.contender import CUT_OFF, ROWS

from tour import server

COURSE = Path(sys.executable)
OTHERS = COURSE.parents[1] / "peers" / "bin" / "python"
CONTENDERS = {
    "ours": COURSE,
    "restate_defaults": COURSE,
    "dbos_sqlite": OTHERS,
    "langgraph_sqlite": OTHERS,
    "prefect_flow": OTHERS,
    "synced_sqlite": COURSE,
    "plain_asyncio": COURSE,
}
ALL_ROWS = [*ROWS, "recovery", "first"]
FORGETFUL = {"plain_asyncio"}
FOREIGN = (
    *("OPENAI_", "RESTATE_", "TOUR_", "DBOS_", "PREFECT_", "LANGGRAPH_", "LANGSMITH_"),
    "PYTHONDONTWRITEBYTECODE",  # else our package alone is compiled at every start
)
PATIENCE = 300  # seconds for one process
KILLED_IN = 4  # the number of the step, from 0

Figures = dict[str, float]  # seconds, by row


class WentWrong(Exception):  # noqa: N818
    """A contender has not done its work."""


class Bout:
    """One contender in one round: its processes, on one folder.

    Attributes:
        about: what the contender says of itself, once it has run.
    """

    def __init__(self, name: str, folder: Path) -> None:
        """Remember who, and where."""
        self.name = name
        self.folder = folder
        self.about: dict[str, str] = {}

    def __enter__(self) -> "Bout":
        """Return it."""
        return self

    def __exit__(self, failed: object, *_: object) -> None:
        """Stop what a failed contender has left."""
        if failed:
            with self._start("stop") as process, _ended(process):
                process.wait()

    def warm(self, rows: list[str], share: float) -> Figures:
        """Do rows in one process; return the seconds that each took, in the median."""
        lines = self._lines("warm", "--rows", ",".join(rows), "--share", str(share))
        return {line["row"]: statistics.median(line["seconds"]) for _, line in lines}

    def first(self) -> float:
        """Return how long a new process takes to its first answer."""
        [(seconds, _)] = self._lines("first")
        return seconds

    def recovery(self) -> float:
        """Return how long a run takes after a crash, beyond what was left of it to do."""
        self._kill_in_step(KILLED_IN)
        [(seconds, line)] = self._lines("resume")
        self.check_recovery(line["result"])
        left: float = CUT_OFF["seconds"] * (CUT_OFF["count"] - KILLED_IN)
        return seconds - left

    def check_recovery(self, result: int) -> None:
        """Make sure that only the step in flight ran again, or what else was not kept."""
        again = range(KILLED_IN + 1) if self.name in FORGETFUL else [KILLED_IN]
        expected = Counter(map(str, [*range(CUT_OFF["count"]), *again]))
        ran = work.ledger(self.folder)
        if ran != expected or result != sum(range(CUT_OFF["count"])):
            raise WentWrong(f"{self.name} gave {result} and ran {dict(ran)}, not {dict(expected)}")

    def _start(self, command: str, *options: str) -> "subprocess.Popen[str]":
        """Start a process of the contender, without what the user has set for other work."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)}
        with (self.folder / "stderr").open("a") as errors:
            return subprocess.Popen(
                [
                    *(str(CONTENDERS[self.name]), "-m", f"peers.{self.name}"),
                    *(command, "--folder", str(self.folder), *options),
                ],
                cwd=Path(__file__).parent,
                env=environment | {"RESTATE_SERVER": str(server.find())},
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )

    def _lines(self, command: str, *options: str) -> list[tuple[float, dict[str, Any]]]:
        """Run a process to its end; return what it said, and how long after its start."""
        said = []
        began = time.monotonic()
        with self._start(command, *options) as process, _ended(process):
            for line in process.stdout or ():
                said.append((time.monotonic() - began, json.loads(line)))
            process.wait()
        if process.returncode:
            errors = (self.folder / "stderr").read_text().strip().splitlines()
            raise WentWrong(f"{self.name} {command}: {errors[-1] if errors else 'no word'}")
        self.about = said.pop()[1]["about"]
        return said

    def _kill_in_step(self, number: int) -> None:
        """Begin the job that is cut off, and kill the process in the middle of this step."""
        end = time.monotonic() + PATIENCE
        with self._start("begin") as process, _ended(process):
            while not work.ledger(self.folder)[str(number)]:
                if process.poll() is not None or time.monotonic() > end:
                    raise WentWrong(f"{self.name} did not begin step {number}")
                time.sleep(0.005)
            time.sleep(CUT_OFF["seconds"] / 2)


@contextmanager
def _ended(process: "subprocess.Popen[str]") -> Iterator[None]:
    """Kill a process, and what it has started in its group, at the end or when it hangs."""

    def kill() -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(PATIENCE, kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        kill()


def one_bout(name: str, rows: list[str], share: float) -> tuple[Figures, dict[str, str]]:
    """Let a contender do its rows on empty folders; return the seconds, and what it is."""
    took: Figures = {}
    warm = [row for row in rows if row in ROWS]
    for row in [*warm[:1], *(row for row in rows if row not in ROWS)]:
        with (
            tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
            Bout(name, Path(folder)) as bout,
        ):
            took |= bout.warm(warm, share) if row in ROWS else {row: getattr(bout, row)()}
    return took, bout.about


def table(rounds: list[dict[str, Figures]], rows: list[str], names: list[str]) -> Iterator[str]:
    """Yield the lines of the table: milliseconds in the median, and their ratio to ours."""
    yield f"{'ms (and times ours)':20}" + "".join(f"{name:>20}" for name in names)
    for row in rows:
        cells = [f"{row:20}"]
        for name in names:
            ms = statistics.median(took[name][row] for took in rounds) * 1000 / divisor(row)
            against = [t[name][row] / t["ours"][row] for t in rounds if "ours" in t]
            ratio = f"({statistics.median(against):.2f})" if against else ""
            cells.append(f"{ms:12.2f} {ratio:>7}")
        yield "".join(cells)


def divisor(row: str) -> int:
    """Return among how many the time of a row is shared: a run's steps."""
    return int(row.partition("-")[2]) if row.startswith("step-") else 1


def listed(known: list[str]) -> Any:
    """Return what reads a list of names from the command line."""

    def read(text: str) -> list[str]:
        names = text.split(",")
        if unknown := set(names) - set(known):
            raise argparse.ArgumentTypeError(f"{unknown} is none of {', '.join(known)}")
        return names

    return read


def main() -> int:
    """Play the rounds and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", type=listed([*CONTENDERS]), default=[*CONTENDERS])
    parser.add_argument("--rows", type=listed(ALL_ROWS), default=ALL_ROWS)
    parser.add_argument("--share", type=float, default=1, help="of the usual number of runs")
    parser.add_argument("--json", type=Path, help="a file for every round's figures")
    chosen = parser.parse_args()
    rounds: list[dict[str, Figures]] = []
    about: dict[str, dict[str, str]] = {}
    for number in range(chosen.rounds):
        rounds.append({})
        for name in chosen.only:
            print(f"round {number + 1} of {chosen.rounds}: {name}", file=sys.stderr)
            try:
                rounds[-1][name], about[name] = one_bout(name, chosen.rows, chosen.share)
            except WentWrong as error:
                print(error, file=sys.stderr)
                return 1
    print(*table(rounds, chosen.rows, chosen.only), sep="\n")
    for name, told in about.items():
        versions, durability, watcher = told.values()
        print(f"{name}: {versions}. Kept: {durability}. Who notices a crash: {watcher}.")
    if chosen.json:
        chosen.json.write_text(json.dumps({"rounds": rounds, "about": about}, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
