"""Every notebook in a real kernel: twice from top to bottom, and its exercises both ways."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import restate

from tests.helpers.exercise_source import NOTEBOOKS, code_cells, exercise_of, read, solutions, stub
from tests.helpers.kernels import Kernel
from tour import endpoint, server


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


@pytest.fixture(scope="module")
def kernel(path: Path) -> Iterator[Kernel]:
    """One for both tests of a notebook: to start it and to load everything takes seconds."""
    with Kernel() as running:
        yield running


def up_to_the_check(notebook: Any, number: str) -> list[str]:
    """Return the code cells after an exercise's own, the last of which checks it."""
    cells = code_cells(notebook)
    [at] = [n for n, cell in enumerate(cells) if exercise_of(cell) == number]
    [last] = [n for n, cell in enumerate(cells) if f'tour.check("{number}")' in cell.source]
    return [cell.source for cell in cells[at + 1 : last + 1]]


def test_its_checks_tell_a_solution_from_a_stub(path: Path, kernel: Kernel) -> None:
    """In a new kernel: an exercise needs the snippets, and no other cell."""
    notebook = read(path)
    for cell in [notebook.cells[1], *code_cells(notebook, "snippet")]:
        kernel.good(cell.source, timeout=60)
    for exercise, solution in solutions(path).items():
        rest = up_to_the_check(notebook, exercise)
        # The stub once more at the end: it is the newest attempt that is judged.
        for source, solved in ((stub(solution), False), (solution, True), (stub(solution), False)):
            kernel.good("tour.offline.reset()")
            kernel.good(source, timeout=60)
            for following in rest:
                verdict = kernel.good(following, timeout=60).result
            assert verdict.startswith("Solved. " if solved else "Not yet. "), verdict
            assert "Agent/" not in verdict, f"not judged at all: {verdict}"
            assert kernel.good(f'bool(tour.check("{exercise}"))').result == str(solved)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_run_all_runs_all_twice_in_one_kernel(path: Path, kernel: Kernel) -> None:
    """All cells are queued at once, as by JupyterLab: not what nbval and nbclient do."""
    cells = [cell.source for cell in code_cells(read(path))]
    for _ in range(2):
        for code, shown in zip(cells, kernel.run_all(cells), strict=True):
            assert not shown.error, f"{code}\n{shown.error}"
            assert not shown.stderr, f"{code}\n{shown.stderr}"


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
