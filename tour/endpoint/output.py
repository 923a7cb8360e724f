"""Where the prints of handlers go: into the cell that waits for their invocation.

A handler runs in a thread of its own, and what a thread prints lands in whichever cell happens to
be running. So in a notebook its prints are kept until a cell asks for the invocation they belong
to. Elsewhere, in a script or a test, they go to stdout as they come.
"""

import sys
from typing import Any, TextIO, cast

from tour.journal import current_invocation

_printed: list[tuple[str, str]] = []
_claimed: set[str] = set()


class _Stdout:
    """The notebook's stdout, less what handlers print."""

    def __init__(self, cell: TextIO) -> None:
        self._cell = cell

    def write(self, text: str) -> int:
        invocation = current_invocation.get()
        if invocation is None:
            return self._cell.write(text)
        _printed.append((invocation, text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cell, name)


def collect() -> None:
    """Keep what handlers print from now on, if this is a notebook; again does nothing."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is None or isinstance(sys.stdout, _Stdout):
        return
    sys.stdout = cast(TextIO, _Stdout(sys.stdout))
    # What nobody waits for, such as a call by curl, shows at the end of the cell that made it.
    shell.events.register("post_run_cell", lambda _: show(None))


def claim(invocation: str) -> None:
    """Keep the prints of this invocation for a cell that waits for it."""
    _claimed.add(invocation)


def show(invocation: str | None) -> None:
    """Print here what this invocation printed, and with it what no other cell has claimed."""
    kept = [line for line in _printed if line[0] in _claimed and line[0] != invocation]
    text = "".join(text for owner, text in _printed if owner == invocation or owner not in _claimed)
    _printed[:] = kept
    if text:
        print(text, end="")
