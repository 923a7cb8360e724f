"""A notebook's agent: its cells tagged `snippet`, in order, are one module.

It is read from the copy that the kernel runs in, if there is one, else from the course's own.
"""

import ast
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from tour.errors import TourError
from tour.home import course, home

Cell = dict[str, Any]

RAN = "ran.json"  # by the ids that Jupyter gives to cells


def source(number: str) -> str:
    """Return the agent of a notebook, such as "01", as the source of one module.

    Raises:
        TourError: there is no such notebook, or it has no cell tagged `snippet`.
    """
    return module_of(snippets(path_of(number)))


def load(number: str) -> ModuleType:
    """Return the agent of a notebook as a module, as the file on disk has it.

    Where a cell was saved otherwise than it ran, it says so.

    Raises:
        TourError: it needs a package that is not installed, or as `source` does.
    """
    path = path_of(number)
    say_if_it_differs(path)
    module = ModuleType(f"agent_{path.name[:2]}")
    code = compile(module_of(snippets(path)), f"<notebook {number}>", "exec")
    sys.modules[module.__name__] = module  # Pydantic and inspect look a class's module up there
    try:
        exec(code, vars(module))  # noqa: S102
    except ModuleNotFoundError as error:
        raise TourError(f"Notebook {number} needs {error.name}, which is not installed.") from error
    return module


def path_of(number: str) -> Path:
    """Return the file of a notebook, such as "01": in the folder we are in, or the course's."""
    names = {path.name[:2]: path.name for path in sorted(course().glob("[0-9]*.ipynb"))}
    if (wanted := number.zfill(2)) not in names:
        there = ", ".join(names) or "none"
        raise TourError(f"There is no notebook {number!r} in {course()}. There are: {there}.")
    own = Path.cwd() / names[wanted]
    return own if own.is_file() else course() / names[wanted]


def cells_of(path: Path) -> list[Cell]:
    """Return the cells of a notebook. Not by nbformat, whose import alone takes over a second."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        return [cell | {"source": "".join(cell["source"])} for cell in cells]
    except (ValueError, KeyError, TypeError) as error:
        raise TourError(f"{path} is no notebook any more ({error!r}).") from error


def note_run(cell: str, code: str) -> None:
    """Note what ran last as a cell, for other kernels too: an edit may not have been saved."""
    ran = _ran() | {cell: _mark(code)}
    (home() / RAN).write_text(json.dumps(ran), encoding="utf-8")


def say_if_it_differs(path: Path) -> None:
    """Print which file is read and when it was saved, if one of its cells last ran otherwise."""
    ran = _ran()
    marks = {str(cell.get("id")): _mark(cell["source"]) for cell in cells_of(path)}
    if any(ran.get(cell, mark) != mark for cell, mark in marks.items()):
        saved = datetime.fromtimestamp(path.stat().st_mtime).astimezone()
        print(
            f"Read from {path}, saved at {saved:%H:%M:%S}; cells that ran since then differ from "
            "it. Save the notebook (Ctrl-S) and run this again to use what you see."
        )


def _ran() -> dict[str, str]:
    try:
        ran: dict[str, str] = json.loads((home() / RAN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return ran


def _mark(code: str) -> str:
    return sha256(code.strip().encode("utf-8", "replace")).hexdigest()[:16]


def snippets(path: Path) -> list[str]:
    """Return the sources of the cells that make the agent."""
    tagged = [cell for cell in cells_of(path) if "snippet" in cell["metadata"].get("tags", [])]
    if not tagged:
        raise TourError(f"{path.name} has no cell tagged `snippet`.")
    return [cell["source"] for cell in tagged]


def module_of(cells: Iterable[str]) -> str:
    """Join cells to one module: the imports of all of them first, each once, then the rest."""
    plain, named, bodies = set[str](), defaultdict[str, set[str]](set), []
    for cell in cells:
        lines = cell.splitlines()
        for node in reversed(ast.parse(cell).body):
            if isinstance(node, ast.Import | ast.ImportFrom):
                found = {ast.unparse(alias) for alias in node.names}
                (named[node.module or ""] if isinstance(node, ast.ImportFrom) else plain).update(
                    found
                )
                del lines[node.lineno - 1 : node.end_lineno]
        bodies.append("\n".join(lines).strip("\n"))
    imports = [(name, f"import {name}") for name in sorted(plain)]
    for module, names in sorted(named.items()):
        imports.append((module, f"from {module} import {', '.join(sorted(names, key=_rank))}"))
    groups: tuple[list[str], list[str]] = ([], [])
    for module, line in imports:
        groups[module.split(".")[0] not in sys.stdlib_module_names].append(line)
    rest = "\n\n\n".join(filter(None, bodies))
    gap = "\n\n\n" if re.match("(async )?def |class |@", rest) else "\n\n"
    return "\n\n".join("\n".join(group) for group in groups if group) + gap + rest + "\n"


def _rank(name: str) -> tuple[bool, bool, str]:
    """Sort constants first, then classes, then the rest, as ruff does."""
    return not name.isupper(), not name[0].isupper(), name
