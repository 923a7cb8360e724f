"""The ground that all rooms stand on: the folder `TOUR_HOME`, the environment, and file locks."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO

import platformdirs

from tour.errors import TourError

if sys.platform != "win32":  # so that Windows gets our sentence and not an ImportError
    import fcntl

__all__ = ["course", "home", "locked", "notebook", "setting"]


def setting(name: str) -> str | None:
    """Return a variable of the environment; one that is empty or blank counts as not set."""
    return os.environ.get(name, "").strip() or None


def home() -> Path:
    """Return the folder for everything that the tour keeps outside the checkout, and create it.

    It is `TOUR_HOME`, else a folder in the user's cache. Nobody else may read it: journals are
    private.

    Raises:
        TourError: it cannot be created; or nothing says where it should be.
    """
    folder = _folder(setting("TOUR_HOME"))
    try:
        if not folder.is_dir():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise TourError(
            f"The tour cannot create its folder {folder} ({error.strerror}): "
            "set TOUR_HOME to a folder that you can write to."
        ) from error
    return folder


def course() -> Path:
    """Return the folder of the course's notebooks: in a clone, or as the package was installed."""
    installed = Path(__file__).with_name("notebooks")
    return installed if installed.is_dir() else Path(__file__).parents[1] / "notebooks"


def notebook(number: str) -> Path:
    """Return the course's own file of a notebook, such as "01" or "1".

    Raises:
        TourError: there is no such notebook.
    """
    found = {path.name[:2]: path for path in sorted(course().glob("[0-9]*.ipynb"))}
    if (wanted := number.zfill(2)) not in found:
        there = ", ".join(found) or "none"
        raise TourError(f"There is no notebook {number!r} in {course()}. There are: {there}.")
    return found[wanted]


@cache
def _folder(named: str | None) -> Path:
    """Work it out once: every try at a step asks for it."""
    try:
        if named:
            return Path(named).expanduser().absolute()
        folder = platformdirs.user_cache_path("tour-of-durable-agents", appauthor=False)
    except RuntimeError as error:
        if named:
            raise TourError(
                f"TOUR_HOME={named} names no user's home folder: correct it."
            ) from error
        folder = Path("~")
    if not folder.is_absolute():  # nothing says what "~" is
        raise TourError("You have no home folder here: set HOME or TOUR_HOME to a folder of yours.")
    return folder


@contextmanager
def locked(name: str, waiting: str = "") -> Iterator[IO[str]]:
    """Let one process at a time do what a file of the home stands for, and yield that file.

    Args:
        name: the file's name in the home.
        waiting: what to print when another process has it.

    Raises:
        TourError: the home is on a file system without locks, or its files are not yours.
    """
    try:
        file = (home() / name).open("a+", encoding="utf-8")
    except OSError as error:
        raise TourError(
            f"{home() / name} cannot be written ({error.strerror}): set TOUR_HOME to a folder that "
            "is yours."
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(waiting, end="\n" if waiting else "", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            raise TourError(
                f"{home()} is on a file system without file locks ({error.strerror}): set "
                "TOUR_HOME to a folder on a disk of this machine."
            ) from error
        yield file
