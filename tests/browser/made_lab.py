"""`make lab` as a learner types it, and Ctrl-C as a learner presses it."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.helpers import ROOT
from tests.helpers.exercise_source import FOLDER
from tour import lab
from tour.asgi import free_port, is_free

__all__ = ["MadeLab", "made_lab"]

SETTINGS = {
    # What is shown in a browser is not saved.
    "docmanager-extension/plugin": {"autosave": False},
    # Cells out of sight stay on the page, where the tests can read them.
    "notebook-extension/tracker": {"windowingMode": "none"},
}
END_SECONDS = 10


class MadeLab:
    """A `make lab` that runs, with the two addresses that it has printed."""

    def __init__(self, home: Path, *options: str, **environment: str) -> None:
        """Start it; whatever Jupyter keeps, it keeps in this folder."""
        self.home = home
        for plugin, settings in SETTINGS.items():
            file = home / f"config/lab/user-settings/@jupyterlab/{plugin}.jupyterlab-settings"
            file.parent.mkdir(parents=True)
            file.write_text(json.dumps(settings))
        checkpoints = f"--FileCheckpoints.checkpoint_dir={home / 'checkpoints'}"
        options = (
            str(home / "copy"),
            "--no-browser",
            f"--port={free_port()}",
            checkpoints,
            *options,
        )
        self.process = subprocess.Popen(
            ["make", "lab", f"ARGS={' '.join(options)}"],
            cwd=ROOT,
            env=self._environment() | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.said = ""
        self.jupyter = self._read(r"JupyterLab +(http\S+)")
        self.restate_ui = self._read(r"Restate UI +(http\S+)")

    def _environment(self) -> dict[str, str]:
        """Return what a shell has set: nothing of the make that runs this test."""
        own = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTHON", "JUPYTER")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        folders = {f"JUPYTER_{each.upper()}_DIR": each for each in ("runtime", "config", "data")}
        folders |= {"TOUR_HOME": "tour", "IPYTHONDIR": "ipython"}
        return kept | {name: str(self.home / folder) for name, folder in folders.items()}

    def _read(self, wanted: str) -> str:
        """Read what it prints as far as this."""
        assert self.process.stdout
        for line in self.process.stdout:
            self.said += line
            if found := re.search(wanted, line):
                return found[1]
        raise AssertionError(f"make lab has ended: {self.said}")

    def address(self, notebook: Path) -> str:
        """Return the printed address, for this notebook in a workspace of its own."""
        workspace = f"/lab/workspaces/{notebook.stem}/"
        return self.jupyter.replace("/lab/", workspace).replace(lab.FIRST, notebook.name)

    def family(self) -> list[psutil.Process]:
        """Return its processes, and the server's, which belongs to nobody."""
        parent = psutil.Process(self.process.pid)
        record = json.loads((self.home / "tour" / "server.json").read_text())
        return [parent, *parent.children(recursive=True), psutil.Process(record["tour"]["pid"])]

    def press_ctrl_c(self) -> str:
        """Do what the terminal does: tell make and all that it runs there; return the last line."""
        os.killpg(self.process.pid, signal.SIGINT)
        said, _ = self.process.communicate(timeout=30)
        return said.strip()

    def end(self) -> None:
        """End it by Ctrl-C, and hold that nothing is left, neither here nor in the checkout."""
        family = self.family()
        ports = {port for process in family for port in listening(process)}
        assert len(ports) >= 4, "Jupyter, and the server's three"
        said = self.press_ctrl_c()
        assert "restate-server stopped; its data stays." in said
        _, alive = psutil.wait_procs(family, END_SECONDS)
        assert not alive
        assert all(is_free(port) for port in ports)

    def drop(self) -> None:
        """Leave nothing running, whatever went wrong before."""
        if self.process.poll() is None:
            self.press_ctrl_c()


def listening(process: psutil.Process) -> list[int]:
    """Return the ports that a process listens on."""
    sockets = process.net_connections(kind="tcp")
    return [each.laddr.port for each in sockets if each.status == psutil.CONN_LISTEN]


@contextmanager
def made_lab(home: Path, *options: str, **environment: str) -> Iterator[MadeLab]:
    """Run `make lab`; when it has ended, the notebooks are what they were."""
    before = {path: path.read_bytes() for path in FOLDER.rglob("*") if path.is_file()}
    running = MadeLab(home, *options, **environment)
    try:
        yield running
        running.end()
    finally:
        running.drop()
    assert before == {path: path.read_bytes() for path in FOLDER.rglob("*") if path.is_file()}
