"""JupyterLab on a working copy of the course, with a server that lives as long as it does."""

import json
import os
import re
import secrets
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import psutil

from tour import server
from tour.asgi import LOOPBACK
from tour.errors import TourError
from tour.home import course, home, setting
from tour.lab.copy import refresh
from tour.model import named
from tour.network import keep_proxies_away, shown

FIRST = "01_durable_execution.ipynb"
FOLDERS = ("config", "data", "runtime")
START_SECONDS, END_SECONDS = 60, 10
OPTIONS = [
    f"--ServerApp.ip={LOOPBACK}",
    f"--LabApp.default_url=/lab/tree/{FIRST}",
    # No question about news, no look-up of newer releases; names that can be told apart.
    f"--LabApp.app_settings_dir={Path(__file__).with_name('settings')}",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    *("--ServerApp.log_level=WARN", "--LabApp.log_level=ERROR"),
    # What a kernel and the lab say to each other is nobody else's on this machine.
    "--KernelManager.transport_encryption=auto",
    "--allow-root",  # as one is in a container; the lab is on loopback and wants its token
]
# What an administrator may have set for other labs of this machine; an argument goes before it.
RULES = ["--ServerApp.base_url=/", "--ServerApp.allow_origin=", "--ServerApp.allow_origin_pat="]
REFUSED = re.compile(r"Blocking Cross Origin.*Origin: (\S+), Host")


def run(arguments: list[str], folder: Path | None = None, fresh: list[str] | None = None) -> int:
    """Open JupyterLab on a working copy until it ends, then stop what was started for it.

    Args:
        arguments: for JupyterLab, such as --no-browser.
        folder: the working copy; `my-notebooks` unless given, in a clone or else here.
        fresh: numbers of the notebooks to set back.

    Returns:
        JupyterLab's exit code.

    Raises:
        TourError: the copy cannot be written, or the server or JupyterLab does not start; or the
            environment names a model that no client can reach.
    """
    model = named()
    keep_proxies_away(needed=model is not None and not model.is_here)
    if not (course() / FIRST).exists():
        raise TourError(f"No notebooks in {course()}: install the course again.")
    clone = (course().parent / "Makefile").exists()
    usual = (course().parent if clone else Path.cwd()) / "my-notebooks"
    copy = (folder or usual).resolve()
    place = "" if folder is None else f"{shlex.quote(str(copy))} "
    again = (f'make lab ARGS="{place}', '"') if clone else (f"tour lab {place}", "")
    for sentence in refresh(copy, fresh or (), again):
        print(sentence)
    with _ending_on_signals():
        was_running, nodes_ran = server.running() is not None, bool(server.cluster.nodes())
        try:
            return _lab([f"--ServerApp.root_dir={copy}", *arguments], copy, server.up())
        finally:
            if not nodes_ran and server.cluster.down():
                print("The cluster stopped; its data stays.")
            if not was_running and server.down():
                print("restate-server stopped; its data stays.")


def _environment() -> dict[str, str]:
    """Return what Jupyter is to work in: settings, kernels and start-up files of the course's own.

    The user's may name another folder, another kernel, or a home that cannot be written to.
    """
    (home() / "jupyter").mkdir(mode=0o700, exist_ok=True)  # a notebook's outputs are private
    own = {f"JUPYTER_{each.upper()}_DIR": str(home() / "jupyter" / each) for each in FOLDERS}
    own |= {"IPYTHONDIR": str(home() / "jupyter" / "ipython"), "JUPYTER_PREFER_ENV_PATH": "1"}
    # Whoever gives JupyterLab its token prints it, too; everybody could read it in an argument.
    own |= {"JUPYTER_TOKEN": setting("JUPYTER_TOKEN") or secrets.token_hex(24)}
    theirs = ("JUPYTER_", "JUPYTERLAB_")  # and not JUPYTERHUB_, which leads links to the UI
    left = {k: v for k, v in os.environ.items() if not k.startswith(theirs)}
    return {"HOME": str(home())} | left | own  # without a home of one's own Jupyter does not start


def _lab(arguments: list[str], copy: Path, running: server.Server) -> int:
    print("Starting JupyterLab …", flush=True)
    given = {argument.partition("=")[0] for argument in arguments}
    rules = [rule for rule in RULES if rule.partition("=")[0] not in given]
    command = [sys.executable, "-m", "jupyterlab", *OPTIONS, *rules, *arguments]
    # A session of its own: Ctrl-C reaches this process alone, which then ends the lab in order.
    lab = subprocess.Popen(
        command,
        cwd=copy,
        env=_environment(),
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    threading.Thread(target=_relay, args=(lab,), daemon=True).start()
    try:
        print(f"Notebooks    {copy}")
        print(f"JupyterLab   {_address(lab)}")
        print(f"Restate UI   {shown(running.admin)}")
        print("Ctrl-C ends both.", flush=True)
        return lab.wait()
    finally:
        _end(lab)


def _relay(lab: "subprocess.Popen[str]") -> None:
    """Pass on the errors of JupyterLab, and say what its one warning means that stops a learner."""
    told = set[str]()
    for line in lab.stderr or ():
        if refused := REFUSED.search(line):
            if refused[1] not in told:
                told.add(refused[1])
                print(
                    f"JupyterLab has refused a page at {refused[1]}: its address is another one. "
                    "If a cloud editor forwards this port, open the notebooks in that editor; or "
                    f"start again with: tour lab --ServerApp.allow_origin={refused[1]}",
                    flush=True,
                )
        elif not line.startswith(("[W", "[I")) and "received signal" not in line:
            print(line, end="", file=sys.stderr)


def _address(lab: "subprocess.Popen[str]") -> str:
    """Wait until JupyterLab listens; return its address, with the token that lets you in."""
    about = Path(_environment()["JUPYTER_RUNTIME_DIR"]) / f"jpserver-{lab.pid}.json"
    about.unlink(missing_ok=True)  # of a process that had this number before
    deadline = time.monotonic() + START_SECONDS
    while lab.poll() is None and time.monotonic() < deadline:
        try:
            found = json.loads(about.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            time.sleep(0.1)
        else:
            return f"{found['url']}lab/tree/{FIRST}?token={found['token']}"
    raise TourError("JupyterLab does not start; what it said stands above.")


def _end(lab: "subprocess.Popen[str]") -> None:
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
        # Ctrl-C reaches make as well: it exits with 130 itself, and would report ours as an error.
        asked = signum == signal.SIGINT and "TOUR_UNDER_MAKE" in os.environ
        raise SystemExit(0 if asked else 128 + signum)

    before = {each: signal.signal(each, stop) for each in signals}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
