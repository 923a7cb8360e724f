"""A home of its own for whatever kills servers, sends nonsense or asks a thousand times."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tour import server

__all__ = ["forget", "fresh_home"]


def forget(*prefixes: str) -> None:
    """Take variables out of the environment."""
    for name in [name for name in os.environ if name.startswith(prefixes)]:
        del os.environ[name]


@contextmanager
def fresh_home() -> Iterator[Path]:
    """Work in an empty home with the installed server: no learner's, and no model that costs."""
    binary = server.find()
    forget("OPENAI_", "RESTATE_")
    with tempfile.TemporaryDirectory(prefix="tour-fresh-", ignore_cleanup_errors=True) as home:
        os.environ |= {"RESTATE_SERVER": str(binary), "TOUR_HOME": home}
        try:
            yield Path(home)
        finally:
            server.down()
