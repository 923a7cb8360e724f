"""A working copy of the notebooks: the learner's own, which no new version ever spoils.

It is without outputs, so that each guess is the learner's, and without the solutions. A file of it
that is as it was given follows the course; one that the learner has changed or run stays.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from tour.errors import TourError
from tour.home import course, locked, notebook

GIVEN = ".tour.json"  # what was given, by name: a mark of what it says, and one of its bytes
APART = {"solutions"}
STAYS = "stays as you have it."

Again = tuple[str, str]


def refresh(
    folder: Path, fresh: Iterable[str] = (), again: Again = ("tour lab ", "")
) -> Iterator[str]:
    """Make or bring up to date a working copy; yield a sentence for each thing worth one.

    Args:
        folder: where; it is created.
        fresh: numbers of notebooks, such as "03", to set back; the learner's stays beside it.
        again: the command that opens this copy, before and after its options.

    Raises:
        TourError: there is no such notebook, or the folder cannot be written, is a file or is the
            course itself.
    """
    names, source = {notebook(number).name for number in fresh}, course().resolve()
    try:
        folder = folder.resolve()
        if folder == source.parent or folder.is_relative_to(source):
            raise TourError(
                f"{folder} is the course itself, which your work would change. Name another "
                "folder, or none for my-notebooks."
            )
        folder.mkdir(parents=True, exist_ok=True)
        with locked("copy.lock"):
            if folder.is_relative_to(source.parent) and not (folder / ".gitignore").exists():
                _put(folder / ".gitignore", b"*\n")  # the course's clone stays clean
            yield from _refreshed(folder, dict(_offered(source)), names, again)
    except OSError as error:
        where = error.filename or folder
        raise TourError(
            f"{where}: {error.strerror}. Name a folder that you can write to."
        ) from error


def _refreshed(
    folder: Path, offered: dict[str, bytes], fresh: set[str], again: Again
) -> Iterator[str]:
    given, known = _given(folder), dict[str, str]()
    for name, content in offered.items():
        path, new, mark = folder / name, _said(name, content), sha256(content).hexdigest()
        said, _, mark_before = given.get(name, "").partition(" ")
        now = _said(name, path.read_bytes()) if path.exists() else ""
        if name in fresh:
            yield f"{name} is as the course has it.{_aside(path) if now not in ('', new) else ''}"
        elif now and (mark == mark_before or now not in (said, new)):  # no news, or the learner's
            known |= {name: given[name]} if name in given else {}
            if mark != mark_before:
                yield f"{name} {STAYS} The course has another version. {_how(name, again)}"
            continue
        if name in fresh or now in ("", said):
            _put(path, content)
        known[name] = f"{new} {mark}"
    for name in sorted(given.keys() - offered.keys()):
        yield from _withdrawn(name, folder / name, given[name].partition(" ")[0])
    if known != given:
        _put(folder / GIVEN, json.dumps(known, indent=1).encode())


def _withdrawn(name: str, path: Path, said: str) -> Iterator[str]:
    """Take away what the course does not have any more, unless it is the learner's."""
    if path.exists() and _said(name, path.read_bytes()) == said:
        path.unlink()
    elif path.exists():
        yield f"{name} {STAYS} The course does not have it any more."


def _aside(path: Path) -> str:
    """Give the learner's file a name that sorts after the notebooks; return a sentence about it.

    The name has the time to the microsecond, so that it is free.
    """
    when = datetime.now().astimezone()
    beside = path.with_name(f"old_{path.stem}_{when:%Y-%m-%d_%H%M%S_%f}{path.suffix}")
    return f" Your version is now {path.rename(beside).name}."


def _how(name: str, again: Again) -> str:
    if not name.endswith(".ipynb"):
        return "To take it, rename your file and start the lab again."
    return f"To take it and keep your version beside it: {again[0]}--fresh {name[:2]}{again[1]}"


def _put(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, whoever kills us."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(".tour.new")
    new.write_bytes(content)
    new.replace(path)


def _offered(source: Path) -> Iterator[tuple[str, bytes]]:
    """Yield what the course gives, by name: notebooks without outputs, and what they import."""
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source)
        if path.is_file() and not any(p in APART or p.startswith((".", "__")) for p in name.parts):
            yield name.as_posix(), _bare(path) if path.suffix == ".ipynb" else path.read_bytes()


def _bare(path: Path) -> bytes:
    try:
        notebook = json.loads(path.read_bytes())
    except ValueError as error:  # as git leaves it after a conflict
        raise TourError(f"{path} is not a notebook ({error}). Install the course again.") from error
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    return (json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode()


def _said(name: str, content: bytes) -> str:
    """Return a mark of what a file says; of a notebook only what a person writes or runs into it.

    JupyterLab rewrites the rest as soon as it opens one. Half a notebook is its bytes.
    """
    if name.endswith(".ipynb"):
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            cells = json.loads(content)["cells"]
            about = [(c["cell_type"], c.get("outputs"), c["metadata"].get("tags")) for c in cells]
            content = json.dumps([["".join(c["source"]) for c in cells], about]).encode()
    return sha256(content).hexdigest()


def _given(folder: Path) -> dict[str, str]:
    """Return what was given. Where that is lost, each file counts as the learner's."""
    try:
        given = dict(json.loads((folder / GIVEN).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}
    return {name: mark for name, mark in given.items() if isinstance(mark, str)}
