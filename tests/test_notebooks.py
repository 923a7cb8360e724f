"""Every notebook in a real kernel: twice from top to bottom, and its exercises both ways."""

from pathlib import Path
from typing import Any

import pytest
import restate
from exercise_source import NOTEBOOKS, code_cells, exercise_of, read, solutions, stub
from kernels import Kernel
from nbclient import NotebookClient

from tour import endpoint, server

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def client_of(path: Path, notebook: Any) -> NotebookClient:
    """Return what runs cells where Jupyter would run them: in the notebook's folder."""
    resources = {"metadata": {"path": str(path.parent)}}
    return NotebookClient(notebook, timeout=60, resources=resources)


def runs_up_to_the_check(notebook: Any, number: str) -> tuple[int, list[int]]:
    """Return where an exercise's cell is, and the code cells after it up to its check."""
    code = [n for n, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    [at] = [n for n in code if exercise_of(notebook.cells[n]) == number]
    [last] = [n for n in code if f'tour.check("{number}")' in notebook.cells[n].source]
    return at, [n for n in code if at < n <= last]


@pytest.mark.timeout(180)
@each_notebook
def test_run_all_runs_all_twice_in_one_kernel(path: Path) -> None:
    """All cells are queued at once, as by JupyterLab: not what nbval and nbclient do."""
    cells = [cell.source for cell in code_cells(read(path))]
    with Kernel() as kernel:
        for _ in range(2):
            for code, shown in zip(cells, kernel.run_all(cells), strict=True):
                assert not shown.error, f"{code}\n{shown.error}"
                assert not shown.stderr, f"{code}\n{shown.stderr}"


@each_notebook
def test_its_checks_tell_a_solution_from_a_stub(path: Path) -> None:
    notebook = read(path)
    client = client_of(path, notebook)

    def run(number: int, source: str) -> str:
        cell = notebook.cells[number]
        cell.source = source
        ran = client.execute_cell(cell, number)
        return "".join(out.data["text/plain"] for out in ran.outputs if "data" in out)

    with client.setup_kernel():
        client.execute_cell(notebook.cells[1], 1)
        for number, cell in enumerate(notebook.cells):
            if cell in code_cells(notebook, "snippet"):
                client.execute_cell(cell, number)
        for exercise, solution in solutions(path).items():
            at, rest = runs_up_to_the_check(notebook, exercise)
            # The stub once more at the end: it is the newest attempt that is judged.
            for source, solved in (
                (stub(solution), False),
                (solution, True),
                (stub(solution), False),
            ):
                run(1, "tour.offline.reset()")
                run(at, source)
                for number in rest:
                    verdict = run(number, notebook.cells[number].source)
                assert verdict.startswith("Solved. " if solved else "Not yet. "), verdict
                assert "Agent/" not in verdict, f"not judged at all: {verdict}"
                assert run(1, f'bool(tour.check("{exercise}"))') == str(solved)


def test_the_same_service_has_another_port_in_another_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = server.up()
    here = endpoint.serve(restate.Service("SideBySide"))
    monkeypatch.setenv("TOUR_HOME", str(tmp_path))
    monkeypatch.setenv("RESTATE_INGRESS_URL", running.ingress)
    monkeypatch.setenv("RESTATE_ADMIN_URL", running.admin)
    there = endpoint.serve(restate.Service("SideBySide"))
    try:
        assert here.port != there.port
    finally:
        here.stop()
        there.stop()
