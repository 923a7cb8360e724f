"""nbval, as anybody would type it: what a file keeps of a picture, and what is still noticed."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.helpers import ROOT

NEEDED = ["conftest.py", "pyproject.toml", "tests/nbval_sanitize.cfg", "tests/campaigns"]
TEXT = "Agent/run   completed\n  no steps"
KEPT = {"text/plain": TEXT, "image/png": "iVBORw0KGgo=\n"}
JOURNAL = """
from datetime import UTC, datetime
from IPython.display import HTML
from tour.journal import Journal, Timeline
now = datetime.now(UTC)
journal = Journal("inv_1", "Agent/run", "completed", now, now)
undrawable = Journal("inv_1", "Agent/run", "completed", "then", "now")
"""
# What a cell does now, what its file holds, and nbval's verdict.
CELLS: dict[str, tuple[str, dict[str, str], str]] = {
    "the same picture": ("Timeline(journal)", KEPT, "PASSED"),
    "another text": ("Timeline(journal)", KEPT | {"text/plain": "Agent/run   failed"}, "FAILED"),
    "a picture that is new": ("Timeline(journal)", {"text/plain": TEXT}, "FAILED"),
    "a picture that is gone": ("journal", KEPT, "FAILED"),
    "a picture that raises an exception": ("Timeline(undrawable)", KEPT, "FAILED"),
    "a picture that is other HTML": ("HTML('<b>7</b>')", KEPT, "FAILED"),
    "HTML that is new": (
        "HTML('<b>7</b>')",
        {"text/plain": "<IPython.core.display.HTML object>"},
        "FAILED",
    ),
    "an address": ("'http://127.0.0.1:7'", {"text/plain": "'http://127.0.0.1:8'"}, "PASSED"),
    "what is no address": ("'127.0.0.1:7'", {"text/plain": "'127.0.0.1:8'"}, "FAILED"),
}


def clone(folder: Path) -> Path:
    """Return a folder with what pytest finds by itself in a clone, and with no notebook yet."""
    for name in NEEDED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name)
        else:
            shutil.copy(ROOT / name, folder / name)
    (folder / "notebooks").mkdir()
    return folder


def ran(number: int, source: str, data: dict[str, str] | None = None) -> dict[str, Any]:
    """Return a cell that was run, with its result."""
    about = {"output_type": "execute_result", "execution_count": 1, "metadata": {}}
    outputs = [about | {"data": data}] if data else []
    cell = {"cell_type": "code", "execution_count": 1, "metadata": {}, "outputs": outputs}
    return cell | {"id": f"cell-{number}", "source": source}


def test_a_picture_may_be_a_png_in_the_file_and_must_be_a_picture_in_the_kernel(
    tmp_path: Path,
) -> None:
    folder = clone(tmp_path / "clone")
    cells = [(JOURNAL, None), *((source, data) for source, data, _ in CELLS.values())]
    notebook = {
        "cells": [ran(number, *cell) for number, cell in enumerate(cells)],
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    (folder / "notebooks" / "few.ipynb").write_text(json.dumps(notebook))
    command = [sys.executable, "-m", "pytest", "--nbval", "notebooks/few.ipynb", "-rA"]
    shown = subprocess.run(
        [*command, "--color=no"], cwd=folder, capture_output=True, text=True, check=False
    ).stdout
    verdict = {int(n): word for word, n in re.findall(r"(?m)^(\w+) \S+::Cell (\d+)", shown)}
    assert verdict.pop(0, None) == "PASSED", shown
    expected = {what: word for what, (_, _, word) in CELLS.items()}
    assert {what: verdict[n] for n, what in enumerate(CELLS, 1)} == expected
