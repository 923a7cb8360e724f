"""The shape that every notebook keeps; no kernel is started here."""

import ast
import configparser
import re
import sys
from itertools import pairwise
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

import nbformat
import pytest

from tests.helpers import ROOT
from tests.helpers.exercise_source import (
    NOTEBOOKS,
    PLAIN,
    code_cells,
    exercise_of,
    read,
    solutions,
    stub,
)

SNIPPETS_MAY_IMPORT = {"restate", "openai", "pydantic", "hypercorn"}
AN_AGENT_SDK = {"agents"}  # an extra, and slow to import: for the one notebook that is about it
ABOUT_AGENT_SDKS = "09_agent_sdks"
VERBS = {
    "Build",
    "Choose",
    "Wait",
    "Call",
    "Undo",
    "Keep",
    "Run",
    "Ask",
    "Work",
    "Talk",
    "Stop",
    "Survive",
    "Steer",
    "Take",
}
WORDS_A_MINUTE, LINES_A_MINUTE, EXERCISE_MINUTES = 200, 30, 4
RUN_SECONDS_A_CELL = 0.35  # measured: notebook 1 runs its 52 cells in 17 s on two cores
EMOJI = re.compile("[\U0001f000-\U0001faff\u2600-\u27bf\ufe0f]")
VARYING = {
    "an id": r"\b(inv|dp|prom|sign)_\w{6,}|\b[0-9a-f]{12,}\b|0x[0-9a-f]{6,}|chatcmpl-\w+",
    "a port": r"localhost:\d+|127\.0\.0\.1:\d+|\bport \d+",
    "a time": r"\d{4}-\d\d-\d\d|\d\d:\d\d:\d\d|datetime\(|\b\d+(\.\d+)? ?(ms|µs|s|sec|seconds)\b",
    "a path of this machine": r"/(tmp|home|root|Users|var)/",
}


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


@pytest.fixture(scope="module")
def notebook(path: Path) -> Any:
    return read(path)


def lines(cell: Any) -> list[str]:
    return [line for line in cell.source.splitlines() if line.strip()]


def texts(notebook: Any) -> str:
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def minutes(notebook: Any) -> int:
    """Estimate what a learner needs, to the nearest five minutes.

    Reading at 200 words a minute, studying 30 lines of code a minute, four minutes an exercise,
    and the time that the cells themselves take.
    """
    code = code_cells(notebook)
    needed = (
        len(texts(notebook).split()) / WORDS_A_MINUTE
        + sum(len(lines(cell)) for cell in code) / LINES_A_MINUTE
        + sum(1 for cell in code if exercise_of(cell)) * EXERCISE_MINUTES
        + len(code) * RUN_SECONDS_A_CELL / 60
    )
    return 5 * max(1, round(needed / 5))


def test_there_are_notebooks_and_they_are_numbered_from_one() -> None:
    assert NOTEBOOKS
    assert [path.name[:3] for path in NOTEBOOKS] == [
        f"{number:02}_" for number in range(1, len(NOTEBOOKS) + 1)
    ]


def test_it_begins_with_what_it_is_about_and_the_tour(path: Path, notebook: Any) -> None:
    opening, start = notebook.cells[:2]
    assert opening.cell_type == "markdown"
    title = re.match(r"# (\d+) · (\w+) \w.*\n", opening.source)
    assert title, opening.source
    assert int(title[1]) == int(path.name[:2])
    assert title[2] in VERBS, f"begin the title with a verb; if {title[2]} is one, add it to VERBS"
    parts = re.findall(r"^\*\*(You .*?)\*\* \w", opening.source, re.MULTILINE)
    assert parts == ["You will build", "You will learn", "You need"]
    assert start.cell_type == "code"
    assert start.source == "import tour\n\ntour.start()"


def test_the_minutes_in_its_header_are_those_of_the_formula(notebook: Any) -> None:
    assert re.findall(r"(\d+) minutes", notebook.cells[0].source) == [str(minutes(notebook))]


def test_text_comes_before_code(notebook: Any) -> None:
    kinds = [cell.cell_type for cell in notebook.cells]
    after_text = [before == "markdown" for before, kind in pairwise(kinds) if kind == "code"]
    assert sum(after_text) >= 0.8 * len(after_text)
    assert "raw" not in kinds


def test_cells_are_short(notebook: Any) -> None:
    counts = sorted(len(lines(cell)) for cell in code_cells(notebook))
    assert counts[0] > 0, "an empty cell"
    assert median(counts) <= 4
    assert counts[ceil(0.9 * len(counts)) - 1] <= 12
    assert counts[-1] <= 30


def test_every_cell_was_run_in_order_and_none_failed(notebook: Any) -> None:
    cells = code_cells(notebook)
    counts = [cell.execution_count for cell in cells]
    assert counts == list(range(1, len(cells) + 1)), "run `make notebooks`"
    for cell in cells:
        failed = [out.ename for out in cell.outputs if out.output_type == "error"]
        assert not failed or "raises-exception" in cell.metadata.get("tags", []), cell.source
        streams = {out.name for out in cell.outputs if out.output_type == "stream"}
        assert streams <= {"stdout"}, cell.source


def test_it_ends_with_a_recap_exercises_and_what_to_read_next(path: Path, notebook: Any) -> None:
    headings = re.findall(r"^## (.*)$", texts(notebook), re.MULTILINE)
    assert headings[-3:] == ["Recap", "Exercises", "Read next"]
    _, _, recap = texts(notebook).partition("## Recap")
    assert len(re.findall(r"^- ", recap.partition("## ")[0], re.MULTILINE)) == 5
    read_next = texts(notebook).partition("## Read next")[2]
    assert "https://docs.restate.dev/" in read_next
    for following in NOTEBOOKS[NOTEBOOKS.index(path) + 1 :][:1]:
        title = read(following).cells[0].source.splitlines()[0].removeprefix("# ")
        assert f"[{title}]({following.name})" in read_next


def test_it_has_two_exercises_each_with_its_check_and_its_solution(
    path: Path, notebook: Any
) -> None:
    numbers = [exercise_of(cell) for cell in code_cells(notebook)]
    found = [number for number in numbers if number]
    assert len(found) >= 2
    assert found == [f"{path.name[:2]}.{n}" for n in range(1, len(found) + 1)]
    assert found == list(solutions(path))
    cells = code_cells(notebook)
    for number in found:
        after = cells[numbers.index(number) + 1 :]
        assert any(f'tour.check("{number}")' in cell.source for cell in after), number


def test_an_exercise_is_the_stub_of_its_solution(path: Path, notebook: Any) -> None:
    solved = solutions(path)
    for cell in code_cells(notebook):
        if number := exercise_of(cell):
            given = stub(solved[number])
            assert "# TODO" in given
            assert not re.search(r"# (stub:|end)$", given, re.MULTILINE)
            assert cell.source == given.rstrip("\n"), "run `make notebooks`"


def test_snippets_import_what_the_agent_will_have(path: Path, notebook: Any) -> None:
    snippets = code_cells(notebook, "snippet")
    assert snippets
    trees = [ast.parse(cell.source) for cell in snippets]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    named = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    named += [str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)]
    rooms = {name.split(".")[0] for name in named}
    more = AN_AGENT_SDK if path.stem == ABOUT_AGENT_SDKS else set()
    assert rooms <= SNIPPETS_MAY_IMPORT | more | sys.stdlib_module_names
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    assert "tour" not in names


def test_no_two_notebooks_declare_the_same_service() -> None:
    declared = re.compile(r'restate\.(?:Service|VirtualObject|Workflow)\(\s*"([^"]+)"')
    homes: dict[str, set[str]] = {}
    for path in NOTEBOOKS:
        sources = [*solutions(path).values(), *(cell.source for cell in code_cells(read(path)))]
        for name in declared.findall("\n".join(sources)):
            homes.setdefault(name, set()).add(path.name)
    assert "WeatherAgent" in homes
    assert not {name: places for name, places in homes.items() if len(places) > 1}


def test_every_notebook_after_the_first_asks_its_model_in_the_same_words() -> None:
    with_a_loop = [path for path in NOTEBOOKS[1:] if path.stem != ABOUT_AGENT_SDKS]
    cells = [cell for path in with_a_loop for cell in code_cells(read(path), "snippet")]
    asking = [cell.source for cell in cells if "async def ask_model(" in cell.source]
    assert len(asking) == len(with_a_loop)
    assert len(set(asking)) <= 1


def test_nothing_in_it_tells_of_a_machine(notebook: Any) -> None:
    assert notebook.metadata == PLAIN, "run `make notebooks`"
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags"}, cell.source


def test_it_is_valid_and_its_ids_are_its_own(notebook: Any) -> None:
    nbformat.validate(notebook)
    ids = [cell.id for cell in notebook.cells]
    assert len(ids) == len(set(ids))


def test_the_file_is_as_make_notebooks_would_write_it(path: Path, notebook: Any) -> None:
    assert path.read_text() == nbformat.writes(notebook) + "\n"  # type: ignore[no-untyped-call]


def test_outputs_hold_nothing_that_varies(notebook: Any) -> None:
    rules = configparser.RawConfigParser()
    rules.read(ROOT / "tests" / "nbval_sanitize.cfg")
    for cell in code_cells(notebook):
        for output in cell.outputs:
            data = output.get("data", {})
            assert set(data) <= {"text/plain", "image/png"}, cell.source
            shown = output.get("text", "") + data.get("text/plain", "")
            for rule in rules.sections():
                shown = re.sub(rules[rule]["regex"], rules[rule]["replace"], shown)
            for what, pattern in VARYING.items():
                assert not (found := re.search(pattern, shown)), f"{what}: {found}\n{shown}"


def test_it_has_no_emoji(notebook: Any) -> None:
    for cell in notebook.cells:
        assert not EMOJI.search(cell.source), cell.source
