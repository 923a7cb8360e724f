"""restate-server: found, started once, adopted, brought back after its death, and stopped."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest
import restate

import tour
from tests.helpers.programs import begin, output, servers_of
from tour import server
from tour.asgi import LOOPBACK, is_free
from tour.journal import newest

UP = "from tour import server; print(server.up().pid)"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty TOUR_HOME, whose server is gone afterwards."""
    monkeypatch.setenv("TOUR_HOME", str(tmp_path))
    monkeypatch.setattr("tour.server.single.DEFAULT_PORTS", free_ports(2))
    yield tmp_path
    for process in servers_of(tmp_path / "data"):
        process.kill()


def free_ports(number: int) -> tuple[int, ...]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = tuple(listener.getsockname()[1] for listener in sockets)
    for listener in sockets:
        listener.close()
    return ports


def kill(process: int) -> None:
    """Kill a server and wait until nothing of it is left."""
    os.kill(process, signal.SIGKILL)
    psutil.Process(process).wait(timeout=5)


class Anything(BaseHTTPRequestHandler):
    """Answers like a healthy Restate, whatever it is asked."""

    def do_GET(self) -> None:
        body = b'{"version": "6.6.6", "rows": []}'
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815  that is what they are called

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def impostor(port: int) -> Iterator[None]:
    """Serve `Anything` on a port."""
    with ThreadingHTTPServer(("127.0.0.1", port), Anything) as foreign:
        threading.Thread(target=foreign.serve_forever, daemon=True).start()
        yield
        foreign.shutdown()


# ---- one server, whoever asks


def test_a_server_is_started_adopted_and_stopped(home: Path, tmp_path: Path) -> None:
    assert server.running() is None
    assert not server.down()
    wanted, first = server.ports(), server.up()
    assert server.up() == first == server.running()
    assert first.ports == wanted
    assert int(output(UP)) == first.pid
    assert server.pid() == first.pid
    assert first.version == server.VERSION
    assert [process.pid for process in servers_of(home / "data")] == [first.pid]

    other = int(output(UP, TOUR_HOME=str(tmp_path / "other")))
    assert other != first.pid
    assert server.down()
    assert servers_of(home / "data") == []
    assert server.running() is None
    assert not server.down()
    with pytest.raises(tour.TourError, match=r"tour\.start\(\) starts one"):
        server.pid()
    kill(other)  # which down() has left alone


def test_the_usual_ports_are_restate_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOUR_HOME", str(tmp_path))
    assert server.ports() == (8080, 9070)


def test_processes_that_start_at_once_get_one_server(home: Path) -> None:
    wait = f"from pathlib import Path\nwhile not Path({str(home / 'go')!r}).exists(): pass"
    programs = [begin(f"from tour import server\n{wait}\n{UP}") for _ in range(3)]
    time.sleep(1)  # for their imports
    (home / "go").touch()
    said = {program.communicate(timeout=30)[0] for program in programs}
    assert said == {f"{process.pid}\n" for process in servers_of(home / "data")}
    assert len(said) == 1


def test_every_socket_listens_on_loopback_alone(home: Path) -> None:
    started = server.up()
    connections = psutil.Process(started.pid).net_connections("all")
    listening = [s.laddr for s in connections if s.status == psutil.CONN_LISTEN]
    assert {address.port for address in listening} == set(started.ports)
    assert {address.ip for address in listening} == {LOOPBACK}
    udp = [s for s in connections if s.type == socket.SOCK_DGRAM and s.laddr]
    assert udp == []


def test_the_server_outlives_its_starter_and_the_stop_button(home: Path) -> None:
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    starter = begin(f"{heard}; {UP}; import time; time.sleep(60)", session=True)
    assert starter.stdout is not None
    number = int(starter.stdout.readline())
    assert os.getsid(number) not in {os.getsid(starter.pid), os.getsid(0)}
    os.killpg(starter.pid, signal.SIGINT)  # what Jupyter's Stop button does
    starter.communicate(timeout=10)
    assert server.pid() == number
    assert server.up().pid == number
    assert psutil.Process(number).status() != psutil.STATUS_ZOMBIE


# ---- a server that dies


greeter = restate.Service("ServerTestGreeter")


@greeter.handler("greet")
async def greet(ctx: restate.Context, name: str) -> str:
    return await ctx.run_typed("think", lambda: f"Hello {name}")


@pytest.mark.anyio
async def test_a_killed_server_comes_back_with_its_data(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint = tour.serve(greeter)
    with closing_endpoint(endpoint):
        earlier = await tour.call(greet, "Ada")
        before = server.up()
        capsys.readouterr()
        for _ in range(4):
            os.kill(server.pid(), signal.SIGKILL)  # and not a moment to notice it
            assert earlier.journal.steps == ["think"]
            assert earlier.journal.attempts("think") == [1]
            said = capsys.readouterr().out
            assert said == "restate-server had died. It is up again, with its data.\n"
        assert server.up().ports == before.ports
        assert server.pid() != before.pid
        assert (await tour.call(greet, "Bob")).result == "Hello Bob"
        assert capsys.readouterr().out == "", "it was said twice"


@contextmanager
def closing_endpoint(endpoint: object) -> Iterator[None]:
    try:
        yield
    finally:
        endpoint.stop()  # type: ignore[attr-defined]


def test_a_death_goes_unnoticed_by_no_request(home: Path) -> None:
    server.up()
    for _ in range(2):
        os.kill(server.pid(), signal.SIGKILL)
        assert server.query("select id from sys_invocation") == []
        os.kill(server.pid(), signal.SIGKILL)
        assert newest("Nobody/nothing") is None


def test_a_foreign_server_on_our_ports_is_not_adopted(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = server.up()
    kill(server.pid())
    monkeypatch.setattr("tour.server.process.DYING_SECONDS", 0.1)
    ingress, admin = dead.ports
    with impostor(ingress), impostor(admin):
        ours = server.up()
        assert not {*ours.ports} & {*dead.ports}
        assert ours.version == server.VERSION
        assert [process.pid for process in servers_of(home / "data")] == [ours.pid]


def test_a_process_that_reuses_the_number_is_neither_trusted_nor_killed(home: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as stranger:
        ports = [f"http://127.0.0.1:{port}" for port in free_ports(2)]
        stale = {"ingress": ports[0], "admin": ports[1], "pid": stranger.pid, "mark": 1}
        (home / "server.json").write_text(json.dumps(stale))
        assert server.running() is None
        assert not server.down()
        assert stranger.poll() is None, "down killed a stranger"
        (home / "server.json").write_text(json.dumps(stale))
        assert server.up().pid != stranger.pid
        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.parametrize("record", ["", "null", "[1]", '{"pid": 1}', '{"ports": [1]}'])
def test_a_damaged_record_is_no_server(home: Path, record: str) -> None:
    (home / "server.json").write_text(record)
    assert server.running() is None
    assert not server.down()


def test_a_clock_that_is_set_does_not_make_a_server_strange(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = server.up()
    platform = psutil._psplatform
    boot_time = platform.boot_time()
    monkeypatch.setattr(platform, "boot_time", lambda: boot_time + 3600)
    assert server.running() == started


# ---- where it listens


def test_taken_ports_are_left_alone_and_said_aloud(home: Path) -> None:
    code = """
import sys, tour
from tour import server
sys.modules["tour.server.single"].DEFAULT_PORTS = ({}, {})
tour.start()
print(server.up().ports)
"""
    taken, free = free_ports(2)
    with closing(socket.create_server(("127.0.0.1", taken))):
        said = output(code.format(taken, free)).splitlines()
    assert said[0].endswith(f" ({taken} taken)")
    ingress, admin = server.up().ports
    assert ingress != taken
    assert admin == free
    assert said[-1] == str((ingress, admin))


def test_another_restate_that_is_quicker_to_a_port_is_not_ours(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "from tour import server; s = server.up(); print(s.pid, *s.ports)"
    other, *ports = map(int, output(code, TOUR_HOME=str(tmp_path / "other")).split())
    monkeypatch.setattr("tour.server.single.DEFAULT_PORTS", tuple(ports))
    slow = tmp_path / "slow-to-die"
    slow.write_text(f"#!/bin/sh\nsleep 0.3\nexec {os.environ['RESTATE_SERVER']}\n")
    slow.chmod(0o755)
    monkeypatch.setenv("RESTATE_SERVER", str(slow))
    looks = iter([True, True])  # free a moment ago
    monkeypatch.setattr(
        "tour.server.single.is_free", lambda port: next(looks, False) or is_free(port)
    )
    try:
        ours = server.up()
        assert ours.pid != other
        assert not {*ours.ports} & {*ports}
        assert ours.owns_its_ports
    finally:
        kill(other)


def test_a_port_taken_by_a_socket_on_all_addresses_counts_as_taken(home: Path) -> None:
    with closing(socket.create_server(("", 0))) as foreign:
        assert not is_free(foreign.getsockname()[1])


# ---- what the environment names


def test_another_server_is_used_if_both_urls_name_it(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "from tour import server; s = server.up(); print(s.pid, s.ingress, s.admin)"
    number, ingress, admin = output(code, TOUR_HOME=str(tmp_path / "other")).split()
    try:
        monkeypatch.setenv("RESTATE_INGRESS_URL", f"{ingress}/")
        with pytest.raises(tour.TourError, match="Set both"):
            server.up()
        monkeypatch.setenv("RESTATE_ADMIN_URL", f"{admin}/")
        named = server.up()
        assert (named.ingress, named.admin, named.pid) == (ingress, admin, None)
        assert named.version == server.VERSION
        assert server.query("select id from sys_invocation") == []
        assert servers_of(home / "data") == []
        with pytest.raises(tour.TourError, match="No restate-server of the tour"):
            server.pid()
        assert not server.down()
    finally:
        kill(int(number))
    with pytest.raises(tour.TourError, match="No Restate answers at RESTATE_INGRESS_URL=http"):
        server.up()


def test_a_proxy_in_the_environment_disturbs_nothing(home: Path) -> None:
    code = """
import asyncio, os, restate, tour
from openai import AsyncOpenAI
from tour import server
echo = restate.Service("ServerTestEcho")
@echo.handler("echo")
async def echo_handler(ctx: restate.Context, text: str) -> str:
    model = AsyncOpenAI(max_retries=0)
    reply = await model.chat.completions.create(
        model="m", messages=[{"role": "user", "content": text}])
    return reply.object
tour.serve(echo)
ours = server.up()
os.environ |= {"RESTATE_INGRESS_URL": ours.ingress, "RESTATE_ADMIN_URL": ours.admin}
tour.start()
print(asyncio.run(tour.call(echo_handler, "hi")).result)
"""
    nowhere = "http://127.0.0.1:9"
    proxies = dict.fromkeys(["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"], nowhere)
    assert output(code, **proxies).splitlines()[-1] == "chat.completion"


# ---- what cannot start


def test_a_wrong_path_in_the_environment_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wrong in (home / "nothing", home, Path(__file__)):
        monkeypatch.setenv("RESTATE_SERVER", str(wrong))
        with pytest.raises(tour.TourError, match=f"RESTATE_SERVER={wrong} is not a program"):
            server.up()


def test_a_program_that_is_no_server_is_an_error(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTATE_SERVER", sys.executable)  # exits at once: its stdin is at an end
    with pytest.raises(tour.TourError, match=r"does not start.*restate-server\.log"):
        server.up()
    assert server.running() is None


def test_a_server_that_cannot_start_says_where_its_log_is(home: Path) -> None:
    (home / "data").write_text("no folder")
    began = time.monotonic()
    with pytest.raises(tour.TourError) as refused:
        server.up()
    assert str(home / "logs" / "restate-server.log") in str(refused.value)
    assert str(home / "data") in str(refused.value)
    assert time.monotonic() - began < 20
    assert server.running() is None
    assert servers_of(home / "data") == []
