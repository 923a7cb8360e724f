"""The tour's commands in an environment that somebody else has set."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.helpers import ROOT
from tour.asgi import free_port

__all__ = [
    "TOUR",
    "Opened",
    "complaint",
    "environment",
    "lab",
    "problems",
    "program",
    "run",
    "tour",
]

TOUR = [sys.executable, "-m", "tour"]
# What the machine that runs the tests may say itself.
OWN = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL", "NPM_CONFIG_", "LC_", "MAKE")

Ran = subprocess.CompletedProcess[str]


def environment(**env: str) -> dict[str, str]:
    """Return this environment without what the machine says of its own, and with these."""
    return {k: v for k, v in os.environ.items() if not k.upper().startswith(OWN)} | env


def run(command: list[str], env: dict[str, str], cwd: Path = ROOT) -> Ran:
    """Run a command to its end, with both of its outputs as one."""
    return subprocess.run(
        command,
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        timeout=60,
    )


def tour(*arguments: str, home: Path, **env: str) -> Ran:
    """Run a command of the tour in the checkout."""
    return run([*TOUR, *arguments], environment(**{"TOUR_HOME": str(home), **env}))


def program(code: str, home: Path, **env: str) -> Ran:
    """Run a program, as a learner's script."""
    return run([sys.executable, "-c", code], environment(**{"TOUR_HOME": str(home), **env}))


def complaint(ran: Ran) -> str:
    """Return the one sentence with which a command of the tour has failed."""
    assert ran.returncode == 1, ran.stdout
    [line] = ran.stdout.splitlines()
    return line.partition(": ")[2]


def problems(home: Path, **env: str) -> list[str]:
    """Return what the doctor finds, and see that it exits accordingly."""
    ran = tour("doctor", home=home, **env)
    lines = [line.split(maxsplit=1) for line in ran.stdout.splitlines()]
    assert {first for first, _ in lines} <= {"ok", "problem"}, ran.stdout
    found = [rest for first, rest in lines if first == "problem"]
    assert ran.returncode == (1 if found else 0), ran.stdout
    return found


class Opened:
    """A `tour lab` that says that it is open."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        """Read what it prints as far as the line that says how to end it."""
        self.process = process
        self.said: list[str] = []
        self.read_until("Ctrl-C ends both.")
        self.url = httpx.URL(next(x for x in self.said if x.startswith("JupyterLab")).split()[-1])
        headers = {"authorization": f"token {self.url.params['token']}"}
        self.browser = httpx.Client(
            base_url=self.url.copy_with(raw_path=b"/"), headers=headers, trust_env=False
        )

    def read_until(self, start: str) -> str:
        """Return the next line that begins like this."""
        assert self.process.stdout
        for line in self.process.stdout:
            self.said.append(line.rstrip())
            if line.startswith(start):
                return line.rstrip()
        raise AssertionError(self.said)

    def kernel(self) -> str:
        """Start a kernel, as the browser does, and return its id."""
        reply = self.browser.post("/api/kernels", json={"name": "python3"}).raise_for_status()
        return str(reply.json()["id"])


@contextmanager
def lab(
    home: Path, *arguments: str, before: list[str] | None = None, **env: str
) -> Iterator[Opened]:
    """Open a lab in an environment, and end it as Ctrl-C does."""
    with subprocess.Popen(
        [
            *(before or []),
            *TOUR,
            "lab",
            str(home / "copy"),
            "--no-browser",
            f"--port={free_port()}",
            *arguments,
        ],
        env=environment(**{"TOUR_HOME": str(home), "PYTHONUNBUFFERED": "1", **env}),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        try:
            opened = Opened(process)
            with opened.browser:
                yield opened
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGINT
