"""An exercise and its solution from one source: the solution, with the stub in its comments.

`python -m tests.helpers.exercise_source` writes the stubs into the notebooks, and takes out of
them what differs from machine to machine; nothing else is changed.
"""

import re
from pathlib import Path
from typing import Any

import nbformat

from tests.helpers import ROOT

__all__ = [
    "NOTEBOOKS",
    "PLAIN",
    "code_cells",
    "exercise_of",
    "numbered",
    "read",
    "solution",
    "solutions",
    "stub",
]

FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("[0-9]*.ipynb"))
PLAIN = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
BLOCK = re.compile(r"^( *)# stub:\n((?:\1# .*\n)+)(?:.*\n)*?\1# end\n", re.MULTILINE)


def numbered(number: str) -> Path:
    """Return the notebook with a number, such as "07"."""
    [path] = FOLDER.glob(f"{number}_*.ipynb")
    return path


def stub(solution: str) -> str:
    """Return the exercise as it is given: each block's solution replaced by its stub.

    A block begins with `# stub:`, goes on with the stub's lines as comments and the solution's
    lines, and ends with `# end`.
    """

    def given(block: re.Match[str]) -> str:
        indent, lines = block[1], block[2].splitlines()
        return "".join(f"{indent}{line.removeprefix(f'{indent}# ')}\n" for line in lines)

    return BLOCK.sub(given, solution)


def solutions(notebook: Path) -> dict[str, str]:
    """Return the solutions of a notebook's exercises by their numbers, such as "01.1"."""
    found = sorted((FOLDER / "solutions").glob(f"{notebook.name[:2]}.*.py"))
    return {path.stem: path.read_text() for path in found}


def solution(number: str, *edits: tuple[str, str]) -> str:
    """Return the solution of an exercise, such as "01.1", with some of its words replaced."""
    source = solutions(numbered(number[:2]))[number]
    for old, new in edits:
        assert old in source, old
        source = source.replace(old, new)
    return source


def read(notebook: Path) -> Any:
    """Return a notebook as nbformat has it."""
    return nbformat.read(notebook, as_version=4)  # type: ignore[no-untyped-call]


def code_cells(notebook: Any, tag: str = "") -> list[Any]:
    """Return the code cells of a notebook, or those with a tag."""
    return [
        cell
        for cell in notebook.cells
        if cell.cell_type == "code" and (not tag or tag in cell.metadata.get("tags", []))
    ]


def exercise_of(cell: Any) -> str | None:
    """Return the number of the exercise that a cell holds, if it holds one."""
    tags = cell.metadata.get("tags", [])
    return next((tag.removeprefix("exercise-") for tag in tags if "exercise-" in tag), None)


def main() -> None:
    """Write the stubs into the notebooks, and take out what differs from machine to machine."""
    for path in NOTEBOOKS:
        notebook, solved = read(path), solutions(path)
        for cell in code_cells(notebook):
            if (number := exercise_of(cell)) in solved:
                cell.source = stub(solved[str(number)]).rstrip("\n")
            cell.metadata.pop("execution", None)
        notebook.metadata = nbformat.from_dict(PLAIN)  # type: ignore[no-untyped-call]
        nbformat.write(notebook, path)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
