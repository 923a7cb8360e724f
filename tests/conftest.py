"""What the tests share, and which of them share a process."""

from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

from tests.helpers.serving import serve

__all__ = ["serve"]

LONGEST = "test_in_a_kernel.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    items.sort(key=lambda item: item.path.name != LONGEST)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> "ByFileOrNotebook":
    """Let the tests of a file share a process, but those of each notebook have one of their own."""
    return ByFileOrNotebook(config, log)


class ByFileOrNotebook(LoadFileScheduling):  # type: ignore[misc]
    """As `--dist loadgroup` does it with marks, which pytest 9 and xdist 3.8 do not together."""

    def _split_scope(self, nodeid: str) -> str:
        path, _, name = nodeid.partition("::")
        return f"{path}[{name.partition('[')[2]}" if path.endswith(LONGEST) else path
