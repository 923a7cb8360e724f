"""A working copy of the notebooks: the learner's own, which no new version ever spoils.

It is without outputs, so that each guess is the learner's, and without the solutions. A file of it
that is as it was given follows the course; one that the learner has changed stays.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from tour.errors import TourError
from tour.home import course

GIVEN = ".tour.json"  # what was given, by name: a digest of it
APART = {"solutions"}


def refresh(folder: Path, fresh: list[str]) -> Iterator[str]:
    """Make or bring up to date a working copy; yield a sentence for each thing worth one.

    Args:
        folder: where; it is created.
        fresh: numbers of notebooks, such as "03", to set back; the learner's stays beside it.

    Raises:
        TourError: the folder cannot be written, is a file, or there is no such notebook.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield from _refreshed(folder, set(_named(fresh)))
    except OSError as error:
        raise TourError(
            f"{error.filename or folder}: {error.strerror}. Name a folder that is yours."
        ) from error


def _refreshed(folder: Path, fresh: set[str]) -> Iterator[str]:
    offered, given, known = dict(_offered(course())), _given(folder), {}
    for name, content in offered.items():
        path, new = folder / name, _digest(name, content)
        now = _digest(name, path.read_bytes()) if path.exists() else None
        known[name] = new
        if name in fresh and now not in (None, new):
            path.rename(beside := _free_name(path))
            yield f"{name} is as the course has it; yours is {beside.name} now."
        elif now == new:
            continue
        elif now is not None and now != given.get(name):
            known[name] = given.get(name, "")
            if new != given.get(name):
                again = f"tour lab --fresh {name[:2]}"
                yield f"{name} is yours, and stays; the course has a new one: `{again}` takes it."
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for name in given.keys() - offered.keys():
        path = folder / name
        if path.exists() and _digest(name, path.read_bytes()) == given[name]:
            path.unlink()
    (folder / GIVEN).write_text(json.dumps(known, indent=1), encoding="utf-8")


def _named(numbers: list[str]) -> Iterator[str]:
    names = {path.name[:2]: path.name for path in course().glob("[0-9]*.ipynb")}
    for number in numbers:
        if number.zfill(2) not in names:
            raise TourError(
                f"There is no notebook {number!r}. There are: {', '.join(sorted(names))}."
            )
        yield names[number.zfill(2)]


def _offered(source: Path) -> Iterator[tuple[str, bytes]]:
    """Yield what the course gives, by name: notebooks without outputs, and what they import."""
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source)
        if path.is_file() and not any(p in APART or p.startswith((".", "__")) for p in name.parts):
            content = path.read_bytes()
            yield str(name), _bare(content) if path.suffix == ".ipynb" else content


def _bare(content: bytes) -> bytes:
    notebook = json.loads(content)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    return (json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode()


def _digest(name: str, content: bytes) -> str:
    """Return a mark of what a file says; of a notebook only what a person writes or runs into it.

    JupyterLab rewrites the rest as soon as it opens one.
    """
    if name.endswith(".ipynb"):
        try:
            cells = json.loads(content)["cells"]
            said = [("".join(c["source"]), c["cell_type"], c.get("outputs")) for c in cells]
        except (ValueError, KeyError, TypeError):
            said = []  # half a notebook is the learner's, too
        content = json.dumps(said).encode() if said else content
    return sha256(content).hexdigest()


def _given(folder: Path) -> dict[str, str]:
    try:
        given: dict[str, str] = json.loads((folder / GIVEN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return given


def _free_name(path: Path) -> Path:
    when = datetime.now().astimezone()
    return path.with_name(f"old_{path.stem}_{when:%Y-%m-%d_%H%M%S}{path.suffix}")
