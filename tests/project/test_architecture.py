"""docs/architecture.md names rooms, files and functions: each is there, and no room is left out."""

import ast
import re
from pathlib import Path

import pytest

from tests.helpers import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
ROOMS = re.findall(r"^\| `(tour/[^`]+)` \|", PAGE, re.MULTILINE)
FILES = sorted(set(re.findall(r"`((?:tour|tests|notebooks)/[\w./]*)`", PAGE)))
TRAVEL = re.findall(r"^\|[^|]*\|[^|]*\| (`tour/[^|]*) \| ([^|]*) \|$", PAGE, re.MULTILINE)
STEPS = [
    (name, files.replace("`", "").split(", "))
    for files, names in TRAVEL
    for name in re.findall(r"`(\w+)`", names)
]


def names_in(path: Path) -> set[str]:
    """Return what a file defines, at its top and in its classes."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in nodes if isinstance(node, kinds)}


def test_the_map_has_every_room_once() -> None:
    doors = {f"tour/{path.parent.name}/" for path in (ROOT / "tour").glob("*/__init__.py")}
    files = {f"tour/{path.name}" for path in (ROOT / "tour").glob("*.py")} - {"tour/__main__.py"}
    assert sorted(ROOMS) == sorted(doors | files)


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_the_page_names_is_there(file: str) -> None:
    assert (ROOT / file).exists()


def test_a_call_passes_every_room_that_it_needs() -> None:
    passed = {file.split("/")[1] for _, files in STEPS for file in files}
    assert {"invocation", "server", "asgi.py", "endpoint", "journal", "model"} <= passed
    assert len(STEPS) > 15


@pytest.mark.parametrize(("name", "files"), STEPS)
def test_a_name_on_the_way_is_defined_where_the_page_says(name: str, files: list[str]) -> None:
    assert any(name in names_in(ROOT / file) for file in files)


def test_the_other_names_of_the_page_are_names_of_the_tour() -> None:
    written = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tour").rglob("*.py"))
    for name in re.findall(r"`(?:tour\.)?(?:\w+\.)*(\w+)(?:\(\))?`", PAGE):
        assert re.search(rf"\b{name}\b", written), name
