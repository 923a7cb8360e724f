"""restate-server is installed whole or not at all, whatever happens on the way."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tour import server
from tour.errors import TourError

pytestmark = pytest.mark.timeout(300)  # a slow connection is not a failure

NO_SERVER = {"RESTATE_SERVER": ""}  # of their own: then there is nothing to install
COMMAND = [sys.executable, "-m", "tour", "install"]


def start(home: Path) -> "subprocess.Popen[str]":
    """Start an installation in a process of its own."""
    return subprocess.Popen(
        COMMAND,
        env=os.environ | NO_SERVER | {"TOUR_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def contents(home: Path) -> set[str]:
    return {path.name for path in home.iterdir()}


SETTLED = {"install.lock", "logs", f"restate-server-{server.VERSION}"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Install once: without npm on the PATH, for somebody whose npm settings would spoil it."""
    home: Path = tmp_path_factory.mktemp("tour") / "home"
    spoilt = {"npm_config_omit": "optional", "npm_config_ignore_scripts": "false"}
    env = os.environ | spoilt | NO_SERVER | {"TOUR_HOME": str(home), "PATH": str(home)}
    ran = subprocess.run(COMMAND, env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    lines = [line.strip() for line in ran.stdout.splitlines() if line.strip()]
    progress = [int(line.split()[0]) for line in lines if line.endswith(" MB so far")]
    assert max(progress) > 10, "it takes seconds, and should not pass them in silence"
    fetching_npm, installing, done = [line for line in lines if "so far" not in line]
    assert fetching_npm.startswith("No npm on this machine: fetching one from PyPI")
    assert installing.startswith(f"Installing restate-server {server.VERSION} (80 MB")
    assert done.startswith(f"restate-server {server.VERSION} installed in ")
    yield home
    shutil.rmtree(home)  # 220 MB each, and pytest would keep it


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set an empty TOUR_HOME for this process."""
    folder = tmp_path / "home"
    monkeypatch.setenv("TOUR_HOME", str(folder))
    return folder


@pytest.fixture
def copy(installed: Path, home: Path) -> Iterator[Path]:
    """Return the binary of a copy of the installation, to be damaged."""
    shutil.copytree(installed, home)
    found = server.binary()
    assert found
    yield found
    shutil.rmtree(home)


# ---- the installation


def test_it_is_private_whole_and_leaves_nothing_beside_it(installed: Path) -> None:
    assert contents(installed) == SETTLED
    assert installed.stat().st_mode & 0o777 == 0o700
    folder = installed / f"restate-server-{server.VERSION}"
    assert {"LICENSE", "NOTICE"} <= contents(folder)


def test_a_second_time_it_is_silent_and_quick(
    copy: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    assert server.install() == copy
    assert time.monotonic() - began < 3  # to unpack it takes longer
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("damage", ["truncated", "not executable", "another version", "no size"])
def test_damage_is_noticed(copy: Path, damage: str) -> None:
    size = copy.parents[1] / "size"
    if damage == "truncated":
        os.truncate(copy, copy.stat().st_size - 1)  # its --version still works
    elif damage == "not executable":
        copy.chmod(0o644)
    elif damage == "another version":
        copy.unlink()
        copy.write_text("#!/bin/sh\necho restate-server 1.7.11\n")
        copy.chmod(0o755)
        size.write_text(str(copy.stat().st_size))
    else:
        size.unlink()
    assert server.binary() is None


def test_a_killed_repair_is_done_by_one_of_two_that_come_after_it(copy: Path, home: Path) -> None:
    os.truncate(copy, 1_000_000)
    killed = start(home)
    while not any(home.glob("installing-*/project/node_modules/@restatedev/*/bin/*")):
        assert killed.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    killed.kill()
    killed.communicate()
    assert server.binary() is None
    with (home / "install.lock").open() as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # its npm lives on, and holds the lock

    said = [process.communicate()[0] for process in [start(home), start(home)]]
    assert server.binary() == copy, said
    assert contents(home) == SETTLED
    assert sorted("installed in" in text for text in said) == [False, True], said
    assert any("Another process is installing" in text for text in said), said


# ---- when it cannot be done


def test_without_a_network_it_says_what_was_tried_and_what_to_do(
    home: Path, tmp_path: Path
) -> None:
    nowhere = {
        "npm_config_registry": "http://127.0.0.1:9",
        "npm_config_cache": str(tmp_path / "cache"),
        "TOUR_HOME": str(home),
    }
    ran = subprocess.run(
        COMMAND, env=os.environ | nowhere | NO_SERVER, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    what, tried, log, cure = ran.stderr.splitlines()
    assert what.startswith(
        f"tour install: restate-server {server.VERSION} could not be installed: "
    )
    assert "127.0.0.1:9" in what
    assert "ECONNREFUSED" in what
    assert " ci --ignore-scripts" in tried
    assert str(home / "logs" / "install.log") in log
    assert "ECONNREFUSED" in (home / "logs" / "install.log").read_text()
    assert "run `make lab` again" in cure
    assert "RESTATE_SERVER" in cure
    assert contents(home) == {"install.lock", "logs"}


def test_a_wrong_integrity_is_an_error_although_npm_exits_with_0(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = shutil.copytree(ROOT / "tour" / "server" / "npm", tmp_path / "npm")
    lock = json.loads((data / "package-lock.json").read_text())
    for name, package in lock["packages"].items():
        if "-server-" in name:
            package["integrity"] = "sha512-" + "A" * 86 + "=="
    (data / "package-lock.json").write_text(json.dumps(lock))
    monkeypatch.setattr("tour.server.installation._NPM", data)
    with pytest.raises(TourError, match="npm left out the server"):
        server.install()
    assert contents(home) == {"install.lock", "logs"}


def test_windows_is_sent_to_wsl2(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Windows")
    monkeypatch.setattr("platform.machine", lambda: "AMD64")
    with pytest.raises(TourError, match=r"no restate-server for Windows AMD64.*WSL2"):
        server.install()


def test_a_home_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TOUR_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(TourError, match=r"file/home \(Not a directory\): set TOUR_HOME"):
        server.install()


def test_a_full_disk_is_named_before_anything_is_fetched(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tour.server.installation._ROOM", shutil.disk_usage("/").total * 1000)
    with pytest.raises(TourError, match=r"No space left on device.\nFree 600 MB there"):
        server.install()
    assert contents(home) == {"install.lock"}
