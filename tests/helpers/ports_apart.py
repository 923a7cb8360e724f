"""Homes for processes that test side by side: the same services, on ports that do not meet.

A service's port follows from its name, and its home moves all ports alike; a home keeps a port
that was free when it was first asked for. For four homes at random about ten ports of one are
another service's in the next, which then may be taken, and now and then a test fails.
"""

import re
import zlib
from collections import Counter
from itertools import count
from pathlib import Path

from tests.helpers import ROOT

__all__ = ["NOTEBOOKS", "home_below", "names"]

NOTEBOOKS = ("notebooks/*.ipynb", "notebooks/solutions/*.py")
PORTS = 10_000
FAR = range(100, PORTS, 10)  # so far apart that the port next to a taken one is free, too
DECLARED = re.compile(r'restate\.(?:Service|VirtualObject|Workflow)\(\s*\\?"([^"\\]+)')


def names(*patterns: str) -> set[str]:
    """Return the services that these files declare."""
    sources = [path.read_text() for pattern in patterns for path in ROOT.glob(pattern)]
    return {name for source in sources for name in DECLARED.findall(source)}


def _meeting(patterns: tuple[str, ...]) -> Counter[int]:
    """Return how many ports meet for each distance between two homes."""
    ports = [zlib.crc32(name.encode()) for name in names(*patterns)]
    return Counter((one - other) % PORTS for one in ports for other in ports)


def moves(homes: int) -> list[int]:
    """Return how far each home is to move its ports, so that as few as can be meet."""
    meeting = [_meeting(NOTEBOOKS), _meeting((*NOTEBOOKS, "tests/**/*.py"))]
    chosen = [0]
    while len(chosen) < homes:  # no two of the notebooks' ports first, then as few as can be
        met = {
            move: [sum(each[(move - other) % PORTS] for other in chosen) for each in meeting]
            for move in FAR
        }
        chosen.append(min(met, key=lambda move: met[move]))
    return chosen


def home_below(folder: Path, run: str, number: int) -> Path:
    """Return the home of one of several processes of a run, named so that it moves its ports."""
    wanted = (zlib.crc32(run.encode()) + moves(number + 1)[number]) % PORTS
    named = (folder / str(each) for each in count())
    return next(home for home in named if zlib.crc32(str(home).encode()) % PORTS == wanted)
