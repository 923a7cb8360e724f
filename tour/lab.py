"""JupyterLab on the course, with a server that lives as long as it does."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from jupyter_server.serverapp import list_running_servers

from tour import server
from tour.errors import TourError
from tour.process import LOOPBACK

__all__ = ["run"]

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
FIRST = "01_durable_execution.ipynb"
START_SECONDS = 60


def run(arguments: list[str]) -> int:
    """Open JupyterLab on the first notebook until it ends, then stop what was started for it.

    Args:
        arguments: for JupyterLab, such as --no-browser.

    Returns:
        JupyterLab's exit code.

    Raises:
        TourError: the server or JupyterLab does not start.
    """
    if not (NOTEBOOKS / FIRST).exists():
        raise TourError(
            f"There are no notebooks in {NOTEBOOKS}: run this in a clone of the course."
        )
    with _stopping_on_signals():
        was_running = server.running() is not None
        running = server.up()
        try:
            return _lab(arguments, running)
        finally:
            if not was_running:
                server.down()
                print("restate-server stopped; its data stays.")


def _lab(arguments: list[str], running: server.Server) -> int:
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.ip={LOOPBACK}", "-y"]
    command += [f"--LabApp.default_url=/lab/tree/{FIRST}", "--log-level=WARN"]
    print("Starting JupyterLab …", flush=True)
    # A session of its own: Ctrl-C reaches this process alone, which then ends the lab in order.
    lab = subprocess.Popen([*command, *arguments], cwd=NOTEBOOKS, start_new_session=True)
    try:
        print(f"JupyterLab   {_address(lab)}")
        print(f"Restate UI   {running.admin}")
        print("Ctrl-C ends both.", flush=True)
        return lab.wait()
    finally:
        _end(lab)


def _address(lab: "subprocess.Popen[bytes]") -> str:
    """Wait until JupyterLab answers; return its address, with the token that lets you in."""
    deadline = time.monotonic() + START_SECONDS
    while lab.poll() is None and time.monotonic() < deadline:
        for found in list_running_servers():
            if found["pid"] == lab.pid:
                return f"{found['url']}lab/tree/{FIRST}?token={found['token']}"
        time.sleep(0.1)
    raise TourError("JupyterLab does not start; what it said stands above.")


def _end(lab: "subprocess.Popen[bytes]") -> None:
    """End JupyterLab, which ends its kernels, and with them their endpoints."""
    lab.terminate()
    try:
        lab.wait(timeout=15)
    except subprocess.TimeoutExpired:
        os.killpg(lab.pid, signal.SIGKILL)
        lab.wait()


@contextmanager
def _stopping_on_signals() -> Iterator[None]:
    """Turn the signals that ask for an end into one that lets `finally` run."""

    def stop(signum: int, _: FrameType | None) -> None:
        raise SystemExit(128 + signum)

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {signum: signal.signal(signum, stop) for signum in signals}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
