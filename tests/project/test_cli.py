"""The `tour` command as a shell sees it: what it does, its exit codes, its sentences."""

import os
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import openai
import psutil
import pytest

from tests.helpers import ROOT
from tests.helpers.programs import servers_of
from tour import server

TOUR = [sys.executable, "-m", "tour"]
NOBODY = "http://127.0.0.1:9"  # the discard port: nothing answers there


def tour(*arguments: str, home: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    if home:
        env["TOUR_HOME"] = str(home)
    return subprocess.run(
        [*TOUR, *arguments],
        cwd=ROOT,
        env=os.environ | env,
        capture_output=True,
        text=True,
        check=False,
    )


def complained(ran: subprocess.CompletedProcess[str], *words: str) -> bool:
    """Tell whether it failed with one sentence that holds these words, and nothing else."""
    assert ran.returncode == 1, ran
    assert not ran.stdout, ran.stdout
    assert len(ran.stderr.splitlines()) == 1, ran.stderr
    return all(word in ran.stderr for word in words)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A TOUR_HOME of its own, with whatever was started there stopped afterwards."""
    yield tmp_path
    if (tmp_path / "server.json").exists():
        tour("down", home=tmp_path)


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_the_package_installs_this_command() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"tour": "tour.cli:main"}


def test_up_status_and_down_may_each_be_said_twice(home: Path) -> None:
    assert tour("status", home=home).returncode == 1
    assert servers_of(home / "data") == []

    first, second = tour("up", home=home), tour("up", home=home)
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    assert first.stdout == second.stdout
    assert server.VERSION in first.stdout
    [running] = servers_of(home / "data")
    status = tour("status", home=home)
    assert status.returncode == 0
    assert f"process {running.pid}" in status.stdout

    assert tour("down", home=home).stdout == "Stopped restate-server.\n"
    assert servers_of(home / "data") == []
    again = tour("down", home=home)
    assert (again.returncode, again.stdout) == (0, "No restate-server of the tour runs.\n")
    assert tour("status", home=home).returncode == 1


def test_up_says_why_there_is_no_server(home: Path) -> None:
    broken = home / "broken"
    broken.write_text("#!/bin/sh\necho 'out of cheese' >&2\nexit 1\n")
    assert complained(tour("up", home=home, RESTATE_SERVER="/no/such"), "RESTATE_SERVER=/no/such")
    assert complained(tour("up", home=home, RESTATE_SERVER=str(broken)), "RESTATE_SERVER")
    broken.chmod(0o755)
    assert complained(tour("up", home=home, RESTATE_SERVER=str(broken)), "out of cheese")
    assert tour("status", home=home).returncode == 1


@pytest.mark.parametrize("command", ["up", "status", "doctor"])
def test_a_named_server_that_does_not_answer_is_a_problem(command: str, home: Path) -> None:
    urls = {"RESTATE_INGRESS_URL": NOBODY, "RESTATE_ADMIN_URL": NOBODY}
    ran = tour(command, home=home, **urls)
    assert ran.returncode == 1
    assert "No Restate answers" in ran.stdout + ran.stderr
    one = tour(command, home=home, RESTATE_INGRESS_URL=NOBODY)
    assert one.returncode == 1
    assert "Set both" in one.stdout + one.stderr


def test_the_doctor_finds_nothing_amiss_here(home: Path) -> None:
    ran = tour("doctor", home=home)
    assert ran.returncode == 0, ran.stdout
    lines = ran.stdout.splitlines()
    assert all(line.startswith("ok ") for line in lines), lines
    assert str(home) in ran.stdout
    assert servers_of(home / "data") == [], "a doctor that starts what he looks for"


def test_the_doctor_names_a_missing_server(home: Path) -> None:
    ran = tour("doctor", home=home, RESTATE_SERVER="/no/such")
    assert ran.returncode == 1
    assert [line for line in ran.stdout.splitlines() if line.startswith("problem")] == [
        "problem  RESTATE_SERVER=/no/such is not a program. Correct it, or unset it."
    ]
    missing = tour("doctor", home=home, RESTATE_SERVER="")
    assert missing.returncode == 1
    assert "problem  restate-server is not installed" in missing.stdout


def test_the_doctor_names_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = tour("doctor", home=tmp_path / "file" / "home")
    assert ran.returncode == 1
    assert f"problem  The tour cannot create its folder {tmp_path / 'file'}" in ran.stdout
    assert not ran.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_the_doctor_names_a_home_of_somebody_else(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    ran = tour("doctor", home=tmp_path)
    tmp_path.chmod(0o700)
    assert ran.returncode == 1
    assert f"problem  {tmp_path}/doctor.lock cannot be written (Permission denied)" in ran.stdout


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_the_model_serves_until_it_is_told_to_end(ending: signal.Signals, home: Path) -> None:
    with taken_port() as port:
        pass
    env = os.environ | {"TOUR_HOME": str(home)}
    command = [*TOUR, "model", "--port", str(port)]
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as model:
        try:
            assert model.stdout
            url = model.stdout.readline().split("OPENAI_BASE_URL=")[1].split()[0]
            assert url == f"http://127.0.0.1:{port}/v1"
            [listening] = [
                found.laddr
                for found in psutil.Process(model.pid).net_connections(kind="tcp")
                if found.status == psutil.CONN_LISTEN
            ]
            assert tuple(listening) == ("127.0.0.1", port)
            with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
                assert [card.id for card in client.models.list()] == ["offline-stand-in"]
            model.send_signal(ending)
            assert model.wait(timeout=10) == 0
        finally:
            model.kill()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/models")


def test_a_taken_port_is_one_sentence(home: Path) -> None:
    with taken_port() as port:
        ran = tour("model", "--port", str(port), home=home)
    assert complained(ran, f"port {port}", "in use", "--port")
    assert complained(tour("model", "--port", "99999", home=home), "port 99999", "--port")


@pytest.mark.parametrize("wrong", [[], ["fly"], ["up", "--fast"], ["model", "--port", "x"]])
def test_a_wrong_command_shows_the_usage(wrong: list[str]) -> None:
    ran = tour(*wrong)
    assert ran.returncode == 2
    assert ran.stderr.startswith("usage: tour")
