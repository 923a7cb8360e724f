"""Installers, run with one line of progress, and with only those of the user's settings that fit.

The Makefile runs this file before anything is installed, as `python quietly.py install …` for pip:
so it imports the standard library alone.
"""

import ast
import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["Failed", "pip_environment", "run"]

PROGRESS_SECONDS = 1.0
# npm and pip say it first and explain at length afterwards.
FIRST_ERROR = rb"^(?:npm error|npm ERR!|ERROR:) (?!code|errno|syscall|path)\s*(\S.*)"
# What a user tells pip about indexes, proxies and links. Which versions are taken, and where they
# go, is the course's own.
KEPT = re.compile(
    "index-url|pypi-url|extra-index-url|no-index|find-links|trusted-host|proxy|cert|client-cert"
    "|timeout|default-timeout|retries|resume-retries|keyring-provider|cache-dir|no-cache-dir"
    "|disable-pip-version-check|use-feature|use-deprecated"
)


class Failed(Exception):  # noqa: N818  this is what became of a command
    """A command has failed; the text is the first error that it printed."""


def run(
    command: list[str],
    log: Path,
    filled: Path,
    env: dict[str, str],
    *,
    progress: bool = True,
    **options: Any,
) -> None:
    """Run a command to its end, its output into a log, and rewrite one line about its progress.

    The folder is the one that the command fills, also with what it keeps for a moment; `options`
    are those of `subprocess.Popen`. Without `progress` nothing is printed.

    Raises:
        Failed: it did not exit with 0.
    """
    log.parent.mkdir(exist_ok=True)
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command,
            env=env | {"TMPDIR": str(filled)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            **options,
        ) as process,
    ):
        try:
            while process.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(PROGRESS_SECONDS)
                if progress:
                    print(f"\r  {_megabytes(filled)} MB so far ", end="\r", flush=True)
        finally:
            process.kill()
    if process.returncode:
        raise Failed(_first_error(log.read_bytes().strip()))


def _first_error(said: bytes) -> str:
    first = re.search(FIRST_ERROR, said, re.M)
    return _text(first[1] if first else said.rpartition(b"\n")[2]).rstrip(".")


def _megabytes(folder: Path) -> int:
    size = 0
    with suppress(OSError):  # it moves its files and folders about
        for path in folder.rglob("*"):
            size += path.lstat().st_size
    return size // 1_000_000


def _text(said: bytes) -> str:
    return said.decode(errors="replace").strip()


def pip_environment() -> dict[str, str]:
    """Return an environment in which pip heeds only those settings of the user that fit.

    Raises:
        Failed: pip cannot read its files of settings.
    """
    bare = {k: v for k, v in os.environ.items() if not k.startswith("PIP_")}
    plain = {"PIP_QUIET": "0", "PIP_VERBOSE": "0", "PIP_LOG": os.devnull}
    named = {k: v for k, v in os.environ.items() if k == "PIP_CONFIG_FILE" and v}
    pip = [sys.executable, "-m", "pip", "config", "list"]
    told = subprocess.run(pip, env=bare | named | plain, capture_output=True, check=False)
    if told.returncode:
        raise Failed(" ".join(_text(told.stderr).removeprefix("ERROR: ").split()).rstrip("."))
    lines = [line.partition("=") for line in _text(told.stdout).splitlines()]
    found = {}
    for section in ("global.", "install."):  # the later one counts, as it does for pip
        for name, _, value in lines:
            if name.startswith(section):
                found[name.removeprefix(section)] = str(ast.literal_eval(value))
    for name, value in os.environ.items():
        if name.startswith("PIP_") and value.strip():
            found[name.removeprefix("PIP_").lower().replace("_", "-")] = value
    kept = {f"PIP_{k.upper().replace('-', '_')}": v for k, v in found.items() if KEPT.fullmatch(k)}
    return bare | kept | {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INPUT": "1"}


def main() -> None:
    """Run pip with the arguments of this program, its output into a log in the environment."""
    folder = Path(sys.prefix)
    command = [sys.executable, "-m", "pip", *sys.argv[1:]]
    try:
        env = pip_environment()
    except Failed as error:
        sys.exit(f"pip cannot read its settings: {error}.")
    try:
        run(command, folder / "pip.log", folder, env, progress=sys.stdout.isatty())
    except Failed as error:
        sys.exit(f"pip could not install what the course needs: {error}. Its log: {folder}/pip.log")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
