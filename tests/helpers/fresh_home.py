"""A home of its own for whatever kills servers, sends nonsense or asks a thousand times."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.helpers.ports_apart import home_below
from tour import server

__all__ = ["forget", "fresh_home"]


def forget(*prefixes: str) -> None:
    """Take variables out of the environment."""
    for name in [name for name in os.environ if name.startswith(prefixes)]:
        del os.environ[name]


@contextmanager
def fresh_home(run: str = "", number: int = 0) -> Iterator[Path]:
    """Work in an empty home with the installed server: no learner's, and no model that costs.

    Args:
        run: what several processes do together; each works on ports of its own.
        number: which of them this is, from 0.
    """
    binary = server.find()
    forget("OPENAI_", "RESTATE_")
    with tempfile.TemporaryDirectory(prefix="tour-fresh-", ignore_cleanup_errors=True) as folder:
        home = home_below(Path(folder), run or folder, number)
        os.environ |= {"RESTATE_SERVER": str(binary), "TOUR_HOME": str(home)}
        try:
            yield home
        finally:
            server.down()
            server.cluster.down()
