"""Kernels that die, or are interrupted, at random cells of the notebooks; then everything again.

    python -m tests.campaigns.dying_kernels --rounds 40 --seed 1

A round runs a notebook up to a random cell. There its kernel is killed at a random moment, or
interrupted as by the Stop button. After a kill, no process of that kernel is left and none of its
ports is taken; after an interrupt, the kernel computes and the server is the same as before. Then,
in a new kernel or in this one, all cells run, queued as by Run All, and none fails.

Exits with 1 when anything was found.
"""

import argparse
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from tests.helpers.exercise_source import NOTEBOOKS, code_cells, read
from tests.helpers.fresh_home import fresh_home
from tests.helpers.kernels import Kernel
from tour import server

DEFAULT = ("01", "02", "03", "05", "07", "08", "09", "10")
LONGEST = 1.5  # seconds into a cell at which it is hit


def listeners(home: str) -> set[int]:
    """Return the ports that processes of this home listen on, but for restate-server's."""
    ports = set()
    for process in psutil.process_iter(["name"]):
        try:
            if process.environ().get("TOUR_HOME") != home or "restate" in process.name():
                continue
            found = process.net_connections()
        except psutil.Error:
            continue
        ports |= {each.laddr.port for each in found if each.status == psutil.CONN_LISTEN}
    return ports - {port for port in ports if _is_ours(port)}


def _is_ours(port: int) -> bool:
    """Tell whether this campaign's own process listens there."""
    own = psutil.Process().net_connections()
    return any(each.laddr.port == port for each in own if each.status == psutil.CONN_LISTEN)


def kernels_of(home: str) -> list[int]:
    """Return the kernels that run in this home, those that a notebook has started included."""
    found = []
    for process in psutil.process_iter():
        try:
            in_home = process.environ().get("TOUR_HOME") == home
            if in_home and any("ipykernel" in word for word in process.cmdline()):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def play(chance: random.Random, path: Path, how: str) -> Iterator[str]:
    """Play a round, and yield what was found."""
    cells = [cell.source for cell in code_cells(read(path))]
    at = chance.randrange(1, len(cells))
    moment = chance.uniform(0, LONGEST)
    where = f"{path.stem}, cell {at}, {how} after {moment:.2f} s"
    kernel = Kernel()
    for code in cells[:at]:
        kernel.good(code, timeout=90)
    before = server.pid()
    kernel.begin(cells[at])
    time.sleep(moment)
    if how == "killed":
        kernel.die()
        yield from _left_behind(where)
        kernel = Kernel()
    else:
        kernel.interrupt()
        if not _computes(kernel):
            yield f"{where}: the kernel computes no more"
        if server.pid() != before and "os.kill" not in cells[at]:
            yield f"{where}: another server runs than before"
    with kernel:
        for code, shown in zip(cells, kernel.run_all(cells, timeout=90), strict=True):
            if shown.error:
                yield f"{where}; then all cells: {code.splitlines()[0]}: {shown.error[-600:]}"
                return


def _computes(kernel: Kernel) -> bool:
    """Tell whether it computes; what is sent while the stopped cell ends is dropped with it."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if kernel.run("1 + 1").result == "2":
            return True
    return False


def _left_behind(where: str) -> Iterator[str]:
    home = os.environ["TOUR_HOME"]
    end = time.monotonic() + 10
    while (left := kernels_of(home)) and time.monotonic() < end:
        time.sleep(0.05)
    if left:
        yield f"{where}: kernels are left: {left}"
    if ports := listeners(home):
        yield f"{where}: ports are taken: {sorted(ports)}"


def main() -> int:
    """Run the campaign and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--notebooks", nargs="+", default=DEFAULT)
    chosen = parser.parse_args()
    chance = random.Random(chosen.seed)
    paths = [path for path in NOTEBOOKS if path.name[:2] in chosen.notebooks]
    made, findings = Counter[str](), []
    began = time.monotonic()
    with fresh_home():
        for number in range(1, chosen.rounds + 1):
            path, how = chance.choice(paths), chance.choice(["killed", "interrupted"])
            made[f"{path.stem}, {how}"] += 1
            for found in play(chance, path, how):
                findings.append(found)
                print(f"round {number}: {found}", flush=True)
    return report(made, findings, f"{time.monotonic() - began:.0f} s; seed {chosen.seed}")


def report(made: Counter[str], findings: list[Any], note: str) -> int:
    """Print the table; return the exit status."""
    for name, times in sorted(made.items()):
        print(f"{name:<40} {times:>4}")
    print(f"{'rounds':<40} {made.total():>4}   {note}")
    print(f"{'found':<40} {len(findings):>4}")
    return 1 if findings else 0


if __name__ == "__main__":
    raise SystemExit(main())
