"""Python programs of their own, for what must outlive one, or be shared by two."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from tests.helpers import ROOT

__all__ = ["begin", "output", "servers_of"]


def begin(
    code: str, environment: dict[str, str] | None = None, *, session: bool = False
) -> subprocess.Popen[str]:
    """Start a program with what it prints in a pipe, if asked for in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-u", "-c", code],
        cwd=ROOT,
        env=os.environ | (environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=session,
    )


def output(code: str, **environment: str) -> str:
    """Run a program to its end and return what it printed; it must exit with 0."""
    with begin(code, environment) as program:
        said, _ = program.communicate(timeout=30)
    assert program.returncode == 0, said
    return said


def servers_of(folder: Path) -> list[psutil.Process]:
    """Return every restate-server that keeps its data in a folder or below it."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if Path(process.environ().get("RESTATE_BASE_DIR", "")).is_relative_to(folder):
                found.append(process)
    return found
