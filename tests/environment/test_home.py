"""A home that cannot be used, and a server that does not start: one sentence each."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from tests.helpers.environments import (
    TOUR,
    complaint,
    environment,
    lab,
    problems,
    program,
    run,
    tour,
)
from tests.helpers.labs import run_in
from tour import server

pytestmark = pytest.mark.timeout(120)

START = "import tour\ntour.start()"
NO_LOCKS = """
#include <errno.h>
int flock(int file, int operation) { (void)file; (void)operation; errno = ENOLCK; return -1; }
"""
# A user without an entry in the password file, who may read what root may: the tests' Python.
STRANGER = [
    *("setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"),
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
]
as_a_stranger = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root may become somebody else"
)


def slow(*values: str) -> list[ParameterSet]:
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


def said_by_start(home: Path, **env: str) -> str:
    """Return the sentence with which `tour.start()` fails."""
    ran = program(START, home, **env)
    assert ran.returncode == 1, ran.stdout
    return ran.stdout.splitlines()[-1].removeprefix("tour.errors.TourError: ")


def everybody_says(home: Path, sentence: str, **env: str) -> None:
    """See that the doctor and all who would fail say the same."""
    assert sentence in problems(home, **env)
    assert complaint(tour("up", home=home, **env)) == sentence
    assert complaint(tour("lab", str(home / "copy"), "--no-browser", home=home, **env)) == sentence
    assert said_by_start(home, **env) == sentence


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler to make a system without locks")
def test_without_file_locks(tmp_path: Path) -> None:
    (tmp_path / "locks.c").write_text(NO_LOCKS)
    shim = str(tmp_path / "locks.so")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", shim, tmp_path / "locks.c"], check=True)
    everybody_says(
        home := tmp_path / "home",
        f"{home} is on a file system without file locks (No locks available): set TOUR_HOME to a "
        "folder on a disk of this machine.",
        LD_PRELOAD=shim,
    )


@contextmanager
def mounted(folder: Path) -> Iterator[Path]:
    """Mount a file system on which no program may run, where that is allowed."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "noexec,size=900m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_where_no_program_may_run(tmp_path: Path) -> None:
    with mounted(tmp_path / "home") as home:
        everybody_says(
            home,
            f"{home} is on a file system where no program may run (noexec): set TOUR_HOME to a "
            f"folder on another one, or RESTATE_SERVER to a restate-server {server.VERSION} "
            "elsewhere.",
            RESTATE_SERVER="",
        )
        assert problems(home, RESTATE_SERVER=str(server.find())) == []  # it is found elsewhere


@pytest.mark.parametrize("kind", ["a script", *slow("of another processor", "silent")])
def test_a_server_that_does_not_start_is_quoted(tmp_path: Path, kind: str) -> None:
    program = tmp_path / "restate-server"
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\0\xf3\xf0\x01\0\0\0" + bytes(100)
    script = b"#!/bin/sh\necho 'out of cheese' >&2\nexit 1\n"
    program.write_bytes(
        {"a script": script, "of another processor": header, "silent": b"#!/bin/sh\n"}[kind]
    )
    program.chmod(0o755)
    said = {"a script": "out of cheese", "of another processor": "Exec format error"}
    sentence = f"{program} does not start: {said.get(kind, 'it says nothing')}."
    home = tmp_path / "home"
    assert problems(home, RESTATE_SERVER=str(program)) == [sentence]
    assert complaint(tour("up", home=home, RESTATE_SERVER=str(program))) == sentence


@pytest.mark.parametrize("named", ["/proc/no/such", *slow("~nobody-of-this-name/x", "/dev/null/x")])
def test_a_home_that_cannot_be_is_named(tmp_path: Path, named: str) -> None:
    found = {*problems(tmp_path, TOUR_HOME=named)}
    assert len(found) == 1, found
    sentence = found.pop()
    assert "TOUR_HOME" in sentence
    assert named in sentence
    assert complaint(tour("up", home=tmp_path, TOUR_HOME=named)) == sentence


def test_variables_that_are_empty_are_not_set(tmp_path: Path) -> None:
    names = ("RESTATE_INGRESS_URL", "RESTATE_ADMIN_URL", "RESTATE_SERVER", "TOUR_HOME")
    env = dict.fromkeys(names, " ") | {"XDG_CACHE_HOME": str(tmp_path)}
    code = "from tour import server\nfrom tour.home import home\nprint(home(), server.running())"
    home = tmp_path / "tour-of-durable-agents"
    assert program(code, tmp_path, **env).stdout == f"{home} None\n"
    assert problems(tmp_path, **env, PATH="/bin") == [
        "restate-server is not installed: `make lab` or tour.start() installs it."
    ]


@pytest.mark.parametrize(
    "url", ["localhost", *slow("127.0.0.1:8080", "http://[::1", "http://h:bad")]
)
def test_an_address_of_a_server_that_is_none_is_named(tmp_path: Path, url: str) -> None:
    env = {"RESTATE_INGRESS_URL": url, "RESTATE_ADMIN_URL": "http://127.0.0.1:9"}
    sentence = f"RESTATE_INGRESS_URL={url} is not an address: it must begin with http://."
    assert problems(tmp_path, **env) == [sentence]
    if url == "localhost":
        assert complaint(tour("up", home=tmp_path, **env)) == sentence


# ---- somebody without a home, and without a name


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder where the stranger may write, with a server that the stranger may start."""
    with tempfile.TemporaryDirectory() as folder:  # pytest's own is closed to others
        place = Path(folder)
        place.chmod(0o777)
        script = place / "restate-server"
        script.write_text(f'#!/bin/sh\nexec {server.find()} "$@"\n')
        script.chmod(0o755)
        yield place
        stranger(["down"], place)


def stranger(command: list[str], place: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the tour, or a program, as a user without a name and without HOME."""
    named = environment(**{"TOUR_HOME": str(place / "home"), **env})
    named |= {"RESTATE_SERVER": str(place / "restate-server")}
    python = [sys.executable, "-c", START] if command == ["start"] else [*TOUR, *command]
    return run(
        [*STRANGER, *python], {k: v for k, v in named.items() if k != "HOME" or "HOME" in env}
    )


@as_a_stranger
@pytest.mark.slow
def test_without_a_home_folder_and_a_name_all_works_in_a_folder_that_is_named(place: Path) -> None:
    for command in (["doctor"], ["up"], ["start"], ["down"]):
        ran = stranger(command, place)
        assert ran.returncode == 0, ran.stdout
    ran = stranger(["up"], place, HOME="/no/such")
    assert ran.returncode == 0, ran.stdout


@as_a_stranger
def test_without_any_folder_it_says_which_variable_to_set(place: Path) -> None:
    sentence = "You have no home folder here: set HOME or TOUR_HOME to a folder of yours."
    assert sentence in stranger(["doctor"], place, TOUR_HOME="").stdout
    for command in (["up"], ["lab", str(place / "copy")]):
        assert complaint(stranger(command, place, TOUR_HOME="")) == sentence
    assert stranger(["start"], place, TOUR_HOME="").stdout.splitlines()[-1].endswith(sentence)
    foreign = complaint(stranger(["up"], place, TOUR_HOME="", HOME="/no/such"))
    assert foreign.startswith("The tour cannot create its folder /no/such/.cache/")
    assert foreign.endswith("(Permission denied): set TOUR_HOME to a folder that you can write to.")
    (place / "home").mkdir(mode=0o755)
    sentence = f"{place / 'home' / 'server.lock'} cannot be written (Permission denied): set "
    assert complaint(stranger(["up"], place)).startswith(sentence)


@as_a_stranger
@pytest.mark.slow
def test_without_a_home_folder_the_lab_opens_and_its_kernels_work(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOME")
    with lab(place, before=STRANGER, RESTATE_SERVER=str(place / "restate-server")) as opened:
        assert "Restate" in run_in(opened.kernel(), place, START)
