"""What the tests share, and which of them share a process."""

import pytest
from serving import serve

__all__ = ["serve"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file together, but those of each notebook apart, and these first."""
    groups = {item: _group(item) for item in items}
    for item, group in groups.items():
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: not groups[item].startswith("test_notebooks "))


def _group(item: pytest.Item) -> str:
    notebook = item.name.partition("[")[2]
    return f"{item.path.stem} {notebook}" if item.path.stem == "test_notebooks" else item.path.stem
