"""What is read of a notebook: the copy that the kernel runs in, as saved, and not as it ran."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import start_new_kernel

import tour
from tests.helpers.kernels import Cell, Kernel
from tour.export import load, source
from tour.home import notebook
from tour.lab import refresh

pytestmark = pytest.mark.timeout(120)

FIRST, SECOND = notebook("1").name, notebook("2").name
TOOL = "async def fetch_weather(city: str)"
SAID = re.compile(r"Read from (\S+), saved at (\d\d:\d\d:\d\d on \d\d \w+)\. (A cell .*)\n")
OTHER = """
from jupyter_client.manager import start_new_kernel
manager, other = start_new_kernel(extra_arguments=["--log-level=ERROR"])
try:
    other.execute_interactive('import tour; tour.start(); tour.load("01")', timeout=30)
finally:
    other.stop_channels()
    manager.shutdown_kernel(now=True)
"""


class LabKernel(Kernel):
    """A kernel as JupyterLab's server starts it for a notebook, and as JupyterLab talks to it."""

    def __init__(self, path: Path, **environment: str) -> None:
        self.path = path
        super().__init__(**{"JPY_SESSION_NAME": str(path)} | environment)

    def _start(self, environment: dict[str, str]) -> None:
        self.manager, self._client = self._context.run(
            start_new_kernel,
            cwd=str(self.path.parent),
            env=os.environ | environment,
            extra_arguments=["--log-level=ERROR"],
        )

    def __enter__(self) -> "LabKernel":
        return self

    def cell(self, cell: dict[str, Any]) -> Cell:
        """Run a cell of the notebook, with its id where JupyterLab puts it."""
        return self._context.run(self._cell, cell)

    def _cell(self, cell: dict[str, Any]) -> Cell:
        content = {"code": "".join(cell["source"]), "silent": False, "store_history": True}
        metadata = {"cellId": cell["id"], "deletedCells": [], "recordTiming": False}
        message = self._client.session.msg("execute_request", content, metadata=metadata)
        self._client.shell_channel.send(message)
        shown = Cell()
        while True:
            answer = self._client.get_iopub_msg(timeout=30)
            if answer["parent_header"].get("msg_id") == message["header"]["msg_id"]:
                shown.add(answer)
                if answer["content"].get("execution_state") == "idle":
                    assert not shown.error, shown.error
                    return shown


def cells(path: Path) -> list[dict[str, Any]]:
    return list(json.loads(path.read_text())["cells"])


def agent(path: Path) -> list[dict[str, Any]]:
    return [each for each in cells(path) if "snippet" in each["metadata"].get("tags", [])]


def edited(path: Path, text: str, instead: str = "MINE = 1\n\n\nasync def fetch_weather(city: str)",
           *, save: bool = True) -> dict[str, Any]:  # fmt: skip
    """Edit the one cell of the agent with this text in it; return the cell."""
    changed = json.loads(path.read_text())
    found = [
        cell for cell in changed["cells"]
        if text in "".join(cell["source"]) and "snippet" in cell["metadata"].get("tags", [])
    ]  # fmt: skip
    [cell] = found
    cell["source"] = "".join(cell["source"]).replace(text, instead)
    if save:
        path.write_text(json.dumps(changed))
    return dict(cell)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    folder = tmp_path / "a copy"
    list(refresh(folder))
    return folder


@pytest.fixture
def kernel(copy: Path) -> Iterator[LabKernel]:
    with LabKernel(copy / FIRST) as kernel:
        kernel.cell(cells(copy / FIRST)[1])
        yield kernel


def said(printed: str, path: Path) -> None:
    """Hold that this file was read, and that its time is told."""
    found = SAID.fullmatch(printed.replace(str(path), "THE-FILE"))
    assert found, printed
    assert found[1] == "THE-FILE"
    assert found[3] == (
        "A cell of this agent last ran with different code. Save the notebook (Ctrl-S) and run "
        "this again to use what you see."
    )


def typed(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tour", "export", *arguments]
    outside = {name: value for name, value in os.environ.items() if name != "JPY_SESSION_NAME"}
    return subprocess.run(
        command, cwd=folder, env=outside | more, capture_output=True, text=True, check=False
    )


def test_an_edit_that_was_run_and_not_saved_is_told_everywhere(
    copy: Path, kernel: LabKernel, tmp_path: Path
) -> None:
    for cell in agent(copy / FIRST):
        kernel.cell(cell)
    assert kernel.good("agent = tour.load('01')").stdout == ""
    assert kernel.good("text = tour.source('01')").stdout == ""
    assert kernel.good(OTHER).stdout.count("\n") == 2, "what tour.start() prints"

    kernel.cell(edited(copy / FIRST, TOOL, save=False))
    for code in ("agent = tour.load('1')", "text = tour.source('01')"):
        said(kernel.good(code).stdout, copy / FIRST)
    assert kernel.good("print(hasattr(agent, 'MINE'), 'MINE' in text)").stdout == "False False\n"
    *_, second = kernel.good(OTHER).stdout.splitlines(keepends=True)
    said(second, copy / FIRST)
    said(kernel.good("%cd -q /\ntour.load('01');").stdout, copy / FIRST)
    exported = typed(copy, "01", str(tmp_path / "one"))
    said(exported.stderr, copy / FIRST)
    assert exported.stdout.splitlines()[0] == str(tmp_path / "one" / "agent.py")
    shell = f"!{sys.executable} -m tour export 01 {tmp_path / 'two'}"
    assert f"Read from {copy / FIRST}, saved" in kernel.good(shell).stdout

    edited(copy / FIRST, TOOL)
    shown = kernel.good("print(tour.load('01').MINE)")
    assert shown.stdout == "1\n", "saved: what is read is what ran"
    assert typed(copy, "01", str(tmp_path / "three")).stderr == ""
    assert "\nMINE = 1\n" in (tmp_path / "three" / "agent.py").read_text()


def test_cells_of_two_notebooks_with_one_id_are_apart(copy: Path, kernel: LabKernel) -> None:
    ids = [{cell["id"] for cell in agent(copy / name)} for name in (FIRST, SECOND)]
    if not ids[0] & ids[1]:  # as notebooks that were made from one another may have them
        changed = json.loads((copy / SECOND).read_text())
        [cell] = [c for c in changed["cells"] if c["id"] == min(ids[1])]
        cell["id"] = min(ids[0])
        (copy / SECOND).write_text(json.dumps(changed))
    with LabKernel(copy / SECOND) as other:
        other.cell(cells(copy / SECOND)[1])
        for cell in agent(copy / SECOND):
            other.cell(cell)
    for cell in agent(copy / FIRST):
        kernel.cell(cell)
    assert kernel.good("tour.load('01'), tour.load('02');").stdout == ""


def test_an_edit_that_was_saved_and_not_run_is_told_too(copy: Path, kernel: LabKernel) -> None:
    for cell in agent(copy / FIRST):
        kernel.cell(cell)
    edited(copy / FIRST, TOOL)
    said(kernel.good("agent = tour.load('01')").stdout, copy / FIRST)
    assert kernel.good("print(agent.MINE)").stdout == "1\n"


def test_where_nothing_names_the_notebook_its_folder_does(copy: Path) -> None:
    with LabKernel(copy / FIRST, JPY_SESSION_NAME="") as kernel:
        kernel.cell(cells(copy / FIRST)[1])
        kernel.cell(edited(copy / FIRST, TOOL, save=False))
        said(kernel.good("tour.load('01');").stdout, copy / FIRST)


def test_a_program_that_names_no_cell_is_told_nothing(copy: Path) -> None:
    """As nbclient, nbval and make notebooks drive a kernel."""
    with LabKernel(copy / FIRST) as kernel:
        kernel.good("import tour\ntour.start()")
        kernel.good("".join(edited(copy / FIRST, TOOL, save=False)["source"]).partition("@")[0])
        assert kernel.good("tour.load('01');").stdout == ""


def test_a_cell_outside_the_agent_may_be_as_it_likes(copy: Path, kernel: LabKernel) -> None:
    start = cells(copy / FIRST)[1]
    kernel.cell(start | {"source": "import tour\n# mine\ntour.start()"})
    assert kernel.good("tour.load('01');").stdout == ""


def test_a_home_that_cannot_be_written_disturbs_no_cell(copy: Path, kernel: LabKernel) -> None:
    broken = "from tour.home import home\n(home() / 'ran').rename('ran')"
    kernel.good(f"{broken}\n(home() / 'ran').write_text('')")
    try:
        shown = kernel.cell(agent(copy / FIRST)[0])
        assert (shown.stdout, shown.stderr) == ("", "")
    finally:
        kernel.good("(tour.home.home() / 'ran').unlink()")


# ---- which file


def test_where_export_is_typed_decides(copy: Path, tmp_path: Path) -> None:
    """Its own folder, then my-notebooks in it, then the course's notebooks."""
    work = tmp_path / "work"
    work.mkdir()
    as_given = typed(work, "01", "a")
    assert (as_given.returncode, as_given.stderr) == (0, "")
    copy.rename(work / "my-notebooks")
    assert typed(work, "01", "b").stderr == "", "the copy says the same"
    edited(work / "my-notebooks" / FIRST, TOOL)
    theirs = typed(work, "01", "c")
    path = work / "my-notebooks" / FIRST
    assert re.fullmatch(rf"Read from {path}, saved at [\d:]+ on \d\d \w+\.\n", theirs.stderr)
    here = typed(work / "my-notebooks", "01", "d")
    assert (here.returncode, here.stderr) == (0, "")
    list(refresh(tmp_path / "another"))
    of_kernel = str(tmp_path / "another" / FIRST)
    typed(work / "my-notebooks", "01", "e", JPY_SESSION_NAME=of_kernel)  # as after !cd in a cell
    for folder in (work / "c", work / "my-notebooks" / "d", work / "my-notebooks" / "e"):
        assert "\nMINE = 1\n" in (folder / "agent.py").read_text()


def test_in_a_program_the_folder_that_we_are_in_decides(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    edited(copy / FIRST, TOOL)
    assert "\nMINE = 1\n" not in source("01")
    monkeypatch.chdir(copy)
    assert "\nMINE = 1\n" in source("01")
    assert load("01").MINE == 1
    folder = copy / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert "\nMINE = 1\n" not in source("01"), "a folder that has gone is no error"


# ---- what cannot be an agent any more


@pytest.mark.parametrize(
    ("instead", "line", "why"),
    [
        ("!pip list\n" + TOOL, "!pip list", "invalid syntax"),
        ("%time\n" + TOOL, "%time", "invalid syntax"),
        (
            "async def fetch_weather(city: str",
            "async def fetch_weather(city: str",
            "invalid syntax",
        ),
    ],
)
def test_a_cell_that_is_not_python_alone_is_one_sentence(
    copy: Path, tmp_path: Path, instead: str, line: str, why: str
) -> None:
    first = edited(copy / FIRST, TOOL, instead)["source"].strip().splitlines()[0]
    ran = typed(copy, "01", str(tmp_path / "x"))
    assert ran.returncode == 1
    [sentence] = ran.stderr.splitlines()
    assert f"A cell of the agent in {copy / FIRST} is not plain Python" in sentence
    assert f"begins with `{first}`" in sentence
    assert f"`{line}" in sentence
    assert why in sentence
    assert not (tmp_path / "x").exists()


def test_an_agent_that_fails_when_it_is_loaded_is_one_sentence(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited(copy / FIRST, TOOL, f"nowhere\n\n\n{TOOL}")
    ran = typed(copy, "01", str(tmp_path / "x"))
    cause = "cannot be loaded: NameError: name 'nowhere' is not defined"
    assert ran.stderr == f"tour export: The agent in {copy / FIRST} {cause}\n"
    monkeypatch.chdir(copy)
    with pytest.raises(tour.TourError, match="'nowhere' is not defined"):
        load("01")


def test_half_a_notebook_is_one_sentence(copy: Path, tmp_path: Path) -> None:
    (copy / FIRST).write_text('{"cells": [')
    ran = typed(copy, "01", str(tmp_path / "x"))
    assert ran.stderr.startswith(f"tour export: {copy / FIRST} cannot be read as a notebook")
    assert len(ran.stderr.splitlines()) == 1
