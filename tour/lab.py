"""JupyterLab on the course, with a server that lives as long as it does."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import nbformat
import psutil
from jupyter_core.paths import jupyter_runtime_dir
from nbformat.sign import NotebookNotary

from tour import cluster, server
from tour.errors import TourError
from tour.process import LOOPBACK, shown

__all__ = ["run"]

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
FIRST = "01_durable_execution.ipynb"
START_SECONDS, END_SECONDS = 60, 10
OPTIONS = [
    f"--ServerApp.ip={LOOPBACK}",
    f"--LabApp.default_url=/lab/tree/{FIRST}",
    # No question about news, no look-up of newer releases.
    f"--LabApp.app_settings_dir={Path(__file__).with_name('lab_settings')}",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    *("--ServerApp.log_level=ERROR", "--LabApp.log_level=ERROR"),
    # What a kernel and the lab say to each other is nobody else's on this machine.
    "--KernelManager.transport_encryption=auto",
    "--allow-root",  # as one is in a container; the lab is on loopback and wants its token
]


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
        raise TourError(f"No notebooks in {NOTEBOOKS}: run this in a clone of the course.")
    with _ending_on_signals():
        was_running, nodes_ran = server.running() is not None, bool(cluster.nodes())
        try:
            _trust_notebooks()
            return _lab(arguments, server.up())
        finally:
            if not nodes_ran and cluster.down():
                print("The cluster stopped; its data stays.")
            if not was_running and server.down():
                print("restate-server stopped; its data stays.")


def _trust_notebooks() -> None:
    """Let JupyterLab show pictures before a cell was run; unsigned, it shows scraps of them."""
    notary = NotebookNotary()  # type: ignore[no-untyped-call]
    for path in NOTEBOOKS.glob("*.ipynb"):
        notary.sign(nbformat.read(path, as_version=4))  # type: ignore[no-untyped-call]


def _lab(arguments: list[str], running: server.Server) -> int:
    print("Starting JupyterLab …", flush=True)
    command = [sys.executable, "-m", "jupyterlab", *OPTIONS, *arguments]
    # Whoever gives JupyterLab its token prints it, too; everybody could read it in an argument.
    env = {"JUPYTER_TOKEN": secrets.token_hex(24)} | os.environ
    # A session of its own: Ctrl-C reaches this process alone, which then ends the lab in order.
    lab = subprocess.Popen(command, cwd=NOTEBOOKS, env=env, start_new_session=True)
    try:
        print(f"JupyterLab   {_address(lab)}")
        print(f"Restate UI   {shown(running.admin)}")
        print("Ctrl-C ends both.", flush=True)
        return lab.wait()
    finally:
        _end(lab)


def _address(lab: "subprocess.Popen[bytes]") -> str:
    """Wait until JupyterLab listens; return its address, with the token that lets you in."""
    about = Path(jupyter_runtime_dir()) / f"jpserver-{lab.pid}.json"
    about.unlink(missing_ok=True)  # of a process that had this number before
    deadline = time.monotonic() + START_SECONDS
    while lab.poll() is None and time.monotonic() < deadline:
        try:
            found = json.loads(about.read_text())
        except (OSError, ValueError):
            time.sleep(0.1)
        else:
            return f"{found['url']}lab/tree/{FIRST}?token={found['token']}"
    raise TourError("JupyterLab does not start; what it said stands above.")


def _end(lab: "subprocess.Popen[bytes]") -> None:
    """End JupyterLab, its kernels and terminals, and with the kernels their endpoints."""
    if lab.poll() is None:
        family = [psutil.Process(lab.pid), *psutil.Process(lab.pid).children(recursive=True)]
        lab.terminate()
        for process in psutil.wait_procs(family, END_SECONDS)[1]:
            process.kill()
        lab.wait()


@contextmanager
def _ending_on_signals() -> Iterator[None]:
    """Let the first signal that asks for an end run `finally`; the next do not disturb that."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop(signum: int, _: FrameType | None) -> None:
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(128 + signum)

    before = {each: signal.signal(each, stop) for each in signals}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
