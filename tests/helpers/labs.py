"""A lab as a shell starts it, and its kernels as the browser uses them."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from queue import Empty
from typing import Any

import httpx
import psutil
from jupyter_client.blocking.client import BlockingKernelClient

from tour.home import course

__all__ = ["Lab", "run_in", "session"]


class Lab:
    """A `tour lab` in a process of its own, as a shell would start it."""

    def __init__(self, home: Path, *arguments: str) -> None:
        """Start it; what Jupyter keeps of its own lies in the home, too."""
        self.home = home
        self.env = os.environ | {
            "TOUR_HOME": str(home),
            "PYTHONPATH": str(course().parent),
            "PYTHONUNBUFFERED": "1",
        }
        self.said: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tour", "lab", str(home / "copy"), "--no-browser", *arguments],
            env=self.env,
            cwd=home,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def links(self) -> tuple[httpx.URL, httpx.URL]:
        """Read what it prints as far as the line that says how to end it."""
        while not (self.said and self.said[-1].startswith("Ctrl-C")):
            line = self.stdout.readline()
            assert line, self.said
            self.said.append(line.strip())
        jupyter, ui = (line.split()[-1] for line in self.said[-3:-1])
        return httpx.URL(jupyter), httpx.URL(ui)

    @property
    def stdout(self) -> Any:
        return self.process.stdout

    def family(self) -> list[psutil.Process]:
        """Return its processes, and the server's, which belongs to nobody."""
        mine = psutil.Process(self.process.pid).children(recursive=True)
        record = json.loads((self.home / "server.json").read_text())
        return [*mine, psutil.Process(record["tour"]["pid"])]

    def ended(self) -> tuple[int, str]:
        """Wait for its end; return its exit code and its last line."""
        rest = self.stdout.read().strip().splitlines()
        return self.process.wait(30), (self.said + rest)[-1]

    def drop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        self.stdout.close()
        subprocess.run([sys.executable, "-m", "tour", "down"], env=self.env, check=True)


def session(jupyter: httpx.URL, notebook: str) -> str:
    """Open a notebook of the lab as the browser does; return its kernel."""
    wanted = {"path": notebook, "name": notebook, "type": "notebook"}
    answer = httpx.post(
        jupyter.join("/api/sessions"),
        headers={"authorization": f"token {jupyter.params['token']}"},
        json=wanted | {"kernel": {"name": "python3"}},
        timeout=30,
    )
    return str(answer.raise_for_status().json()["kernel"]["id"])


def run_in(kernel: str, home: Path, code: str) -> str:
    """Run code in a kernel of the lab, as the browser would; return what it printed."""
    client = BlockingKernelClient()
    client.load_connection_file(str(home / "jupyter" / "runtime" / f"kernel-{kernel}.json"))
    client.start_channels()
    printed = []
    try:
        _await_ready(client)
        reply = client.execute_interactive(
            code,
            timeout=60,
            output_hook=lambda message: printed.append(message["content"].get("text", "")),
        )
    finally:
        client.stop_channels()
    assert reply["content"]["status"] == "ok", reply["content"]
    return "".join(printed)


def _await_ready(client: BlockingKernelClient) -> None:
    """Ask until what the kernel broadcasts arrives.

    Jupyter's own `wait_for_ready` takes a kernel for dead that a busy machine keeps from beating.
    """
    while True:  # the test's own timeout ends this
        client.kernel_info()
        with suppress(Empty):
            client.get_iopub_msg(timeout=1)
            return
