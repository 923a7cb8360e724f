"""A notebook's agent: its cells tagged `snippet`, in order, are one module.

It is read from the copy that the kernel runs in, if there is one, else from the course's own.
"""

import ast
import json
import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from tour.errors import TourError
from tour.home import home, notebook

Cell = dict[str, Any]


def source(number: str) -> str:
    """Return the agent of a notebook, such as "01", as the source of one module.

    Where a cell ran otherwise than it is saved, it says which file it has read.

    Raises:
        TourError: there is no such notebook, or it has no cell tagged `snippet`.
    """
    return module_of(snippets(path_of(number)))


def load(number: str) -> ModuleType:
    """Return the agent of a notebook as a module, read as `source` reads it.

    Raises:
        TourError: it needs a package that is not installed, or fails; or as `source` does.
    """
    return module_at(path_of(number))


def module_at(path: Path) -> ModuleType:
    """Return the agent of this file as a module."""
    module = ModuleType(f"agent_{(number := path.name[:2])}")
    code = compile(module_of(snippets(path)), f"<notebook {number}>", "exec")
    sys.modules[module.__name__] = module  # Pydantic and inspect look a class's module up there
    try:
        exec(code, vars(module))  # noqa: S102
    except ModuleNotFoundError as error:
        raise TourError(f"Notebook {number} needs {error.name}, which is not installed.") from error
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        raise TourError(f"The agent in {path} cannot be loaded: {said}") from error
    return module


def path_of(number: str, also: Path = Path()) -> Path:
    """Return the file of a notebook, such as "01", and print which, if what ran was otherwise.

    It is looked for where we are, in another folder, where the kernel's notebook is, which holds
    after a `%cd` too, and at last in the course's own folder.
    """
    own = notebook(number)
    of_kernel = Path(os.environ.get("JPY_SESSION_NAME", "")).parent  # Jupyter's server sets it
    places = (Path(), also, of_kernel)
    path = next((p / own.name for p in places if (p / own.name).is_file()), own).resolve()
    saved = f"{datetime.fromtimestamp(path.stat().st_mtime).astimezone():%H:%M:%S on %d %B}"
    ran = _ran(path) or _ran(path.parent)
    if any(ran.get(str(cell.get("id")), _mark(cell)) != _mark(cell) for cell in _tagged(path)):
        print(
            f"Read from {path}, saved at {saved}. A cell of this agent last ran with different "
            "code. Save the notebook (Ctrl-S) and run this again to use what you see."
        )
    elif also != Path() and path.parent == also.resolve() and snippets(path) != snippets(own):
        print(f"Read from {path}, saved at {saved}.")
    return path


def cells_of(path: Path) -> list[Cell]:
    """Return the cells of a notebook. Not by nbformat, whose import alone takes over a second."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        return [cell | {"source": "".join(cell["source"])} for cell in cells]
    except (ValueError, KeyError, TypeError) as error:
        raise TourError(f"{path} cannot be read as a notebook ({error!r}).") from error


def note_run(cell: str, code: str) -> None:
    """Note what ran last as a cell, for other kernels too: an edit may not have been saved."""
    with suppress(OSError):  # nothing that a learner runs fails because of this
        path = Path(os.environ.get("JPY_SESSION_NAME", "")).resolve()  # else the folder we are in
        file = _record(path)
        file.parent.mkdir(exist_ok=True)
        (new := file.with_suffix(f".{os.getpid()}")).write_text(
            json.dumps(_ran(path) | {cell: _mark({"source": code})}), encoding="utf-8"
        )
        new.replace(file)


def _record(path: Path) -> Path:
    """Return the file with what ran last, by cell. Cells of two notebooks may have the same id."""
    return home() / "ran" / f"{sha256(os.fsencode(path)).hexdigest()[:16]}.json"


def _ran(path: Path) -> dict[str, str]:
    try:
        return dict[str, str](json.loads(_record(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _mark(cell: Cell) -> str:
    return sha256(cell["source"].strip().encode("utf-8", "replace")).hexdigest()[:16]


def _tagged(path: Path) -> list[Cell]:
    return [cell for cell in cells_of(path) if "snippet" in cell["metadata"].get("tags", [])]


def snippets(path: Path) -> list[str]:
    """Return the sources of the cells that make the agent."""
    sources = [cell["source"] for cell in _tagged(path)]
    if not sources:
        raise TourError(f"{path.name} has no cell tagged `snippet`.")
    for source in sources:
        try:
            ast.parse(source)
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None) or 1
            raise TourError(
                f"A cell of the agent in {path} is not plain Python. The cell begins with "
                f"`{source.strip().splitlines()[0]}`. Its line {line} is "
                f"`{source.splitlines()[line - 1].strip()}`: {getattr(error, 'msg', error)}."
            ) from error
    return sources


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
