"""An exported agent as a program of its own, without the tour."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tour
from tour import server

__all__ = ["alone", "register"]


@contextmanager
def alone(folder: Path, port: int) -> "Iterator[subprocess.Popen[str]]":
    """Run the agent of a project, with what it prints in a pipe; it is killed if it still runs."""
    command = [sys.executable, "-I", "agent.py"]
    environment = os.environ | {"PORT": str(port)}
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    ) as program:
        try:
            yield program
        finally:
            program.kill()


def register(port: int) -> None:
    """Do what the project's README says, as soon as the agent listens."""
    body = {"uri": f"http://127.0.0.1:{port}", "force": True}
    end = time.monotonic() + 20
    while True:
        try:
            server.request("POST", "/deployments", json=body)
        except tour.TourError:
            assert time.monotonic() < end, "it does not listen"
            time.sleep(0.05)
        else:
            return
