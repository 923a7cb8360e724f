"""`tour lab`: it opens the course on loopback alone, and when it ends nothing of it is left."""

import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.helpers.labs import Lab, run_in
from tests.helpers.programs import servers_of
from tour import lab, server
from tour.asgi import free_port
from tour.errors import TourError

pytestmark = pytest.mark.timeout(120)

IN_A_KERNEL = """
import asyncio, subprocess, sys
import restate, tour

echo = restate.Service("LabEcho")

@echo.handler()
async def say(ctx: restate.Context, word: str) -> str:
    return word

tour.start()
endpoint = tour.serve(echo)
child = subprocess.Popen(["sleep", "300"])
print((await tour.call(say, "hello")).result, sys.executable)
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name in ["home"]:
        (tmp_path / name).mkdir(mode=0o700)
    return tmp_path / "home"


@pytest.fixture
def started(home: Path) -> Iterator[Lab]:
    running = Lab(home, f"--port={free_port()}")
    yield running
    running.drop()


def gone(processes: list[psutil.Process]) -> bool:
    return not psutil.wait_procs(processes, timeout=3)[1]


def test_it_opens_the_course_on_loopback_and_takes_everything_along(started: Lab) -> None:
    jupyter, ui = started.links()
    assert jupyter.path == f"/lab/tree/{lab.FIRST}"
    assert started.process.args[-1] == f"--port={jupyter.port}"  # type: ignore[index]
    assert len(started.said) == 5, "JupyterLab talks"
    token = {"token": jupyter.params["token"]}
    with httpx.Client(base_url=jupyter.copy_with(raw_path=b"/")) as browser:
        assert browser.get(jupyter.path).status_code == 302  # no token: to the login
        assert browser.get(jupyter.path, params=token).status_code == 200
        assert httpx.get(ui.join("/ui/")).status_code == 200
        notebook = browser.get(f"/api/contents/{lab.FIRST}", params=token).json()
        assert "survives a crash" in notebook["content"]["cells"][0]["source"]
        headers = {"authorization": f"token {token['token']}"}
        kernel = browser.post("/api/kernels", headers=headers).raise_for_status().json()["id"]
        terminal = browser.post("/api/terminals", headers=headers)
        assert terminal.is_success

    answer, interpreter = run_in(kernel, started.home, IN_A_KERNEL).splitlines()[-1].split()
    assert (answer, interpreter) == ("hello", sys.executable)
    family = started.family()
    assert {"sleep", "restate-server"} <= {process.name() for process in family}

    for _ in range(3):  # nobody presses Ctrl-C once only
        started.process.send_signal(signal.SIGINT)
        time.sleep(0.1)
    assert started.ended() == (130, "restate-server stopped; its data stays.")
    assert gone(family)
    left = {path.name for path in (started.home / "jupyter" / "runtime").iterdir()}
    assert left == {"jupyter_cookie_secret"}


@pytest.mark.slow
def test_a_server_that_ran_before_stays(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOUR_HOME", str(home))
    before = server.up()
    running = Lab(home, f"--port={free_port()}")
    try:
        assert running.links()[1] == before.admin
        *jupyter, restate = running.family()
        running.process.send_signal(signal.SIGHUP)
        assert running.ended()[0] == 128 + signal.SIGHUP
        assert gone(jupyter)
        assert restate.pid == before.pid
        assert restate.is_running()
    finally:
        running.drop()
    assert gone([restate])


@pytest.mark.parametrize("seconds", [0.45, 0.6, 0.8, 1.2])
def test_an_end_while_it_starts_leaves_nothing_either(home: Path, seconds: float) -> None:
    running = Lab(home, f"--port={free_port()}")
    time.sleep(seconds)
    family = psutil.Process(running.process.pid).children(recursive=True)
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(30) in {-signal.SIGTERM, 128 + signal.SIGTERM}
    running.stdout.close()
    assert gone(family)
    assert not servers_of(home)


def test_a_jupyterlab_that_fails_is_told_in_one_sentence(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        running = Lab(home, f"--port={port}", "--ServerApp.port_retries=0")
        code, last = running.ended()
    running.stdout.close()
    assert code == 1
    assert last == "tour lab: JupyterLab does not start; what it said stands above."
    assert not (home / "server.json").exists()


def test_without_notebooks_it_says_where_to_run_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tour.lab.lab.course", lambda: tmp_path)
    with pytest.raises(TourError, match=r"No notebooks in .*: install the course again"):
        lab.run([])
