"""The tour's commands in an environment that somebody else has set."""

import os
import subprocess
import sys
from pathlib import Path

from programs import ROOT

__all__ = ["TOUR", "complaint", "environment", "problems", "program", "tour"]

TOUR = [sys.executable, "-m", "tour"]
# What the machine that runs the tests may say itself.
OWN = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL", "PIP_", "NPM_CONFIG_", "LC_")

Ran = subprocess.CompletedProcess[str]


def environment(home: Path | None = None, **env: str) -> dict[str, str]:
    """Return this environment without what the machine says of its own, and with these."""
    kept = {k: v for k, v in os.environ.items() if not k.upper().startswith(OWN)}
    return kept | ({"TOUR_HOME": str(home)} if home else {}) | env


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
    return run([*TOUR, *arguments], environment(home, **env))


def program(code: str, home: Path, **env: str) -> Ran:
    """Run a program, as a learner's script."""
    return run([sys.executable, "-c", code], environment(home, **env))


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
