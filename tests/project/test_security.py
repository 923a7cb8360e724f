"""What listens, who may read what, and what another user of this machine can do."""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
import restate

import tour
from tests.helpers.labs import Lab, run_in
from tests.helpers.serving import Serve
from tour.asgi import LOOPBACK, free_port
from tour.errors import TourError

pytestmark = pytest.mark.timeout(120)

# A notebook at work: its agent, and what one starts in the lab's terminal.
IN_A_KERNEL = """
import json, os, subprocess, sys
from pathlib import Path
import tour
from tour.export import export, load
from tour.asgi import free_port

tour.start()
agent = load("01")
endpoint = tour.serve(agent.weather)
assert (await tour.call(agent.run, {})).result
folder, ports = Path(os.environ["TOUR_HOME"]) / "exported", [free_port(), free_port()]
export("01", folder)
environment = os.environ | {"PORT": str(ports[1])}
model = [sys.executable, "-m", "tour", "model", f"--port={ports[0]}"]
started = [subprocess.Popen(model, stdout=subprocess.DEVNULL)]
started += [subprocess.Popen([sys.executable, "-I", "agent.py"], cwd=folder, env=environment)]
print(json.dumps([endpoint.port, int(tour.offline.url.split(":")[2].split("/")[0]), *ports]))
"""

# A program that has become another user, and says which files of a folder it can open.
STRANGER = """
import os, pwd, socket, sys
from pathlib import Path

def opens(path):
    try:
        if path.is_socket():
            socket.socket(socket.AF_UNIX).connect(str(path))
        return path.is_socket() or (path.is_file() and bool(path.open("rb")))
    except OSError:
        return False

home = Path(sys.argv[1])
nobody = pwd.getpwnam("nobody")
os.setgroups([]), os.setgid(nobody.pw_gid), os.setuid(nobody.pw_uid)
for path in [*home.rglob("*"), home / "data" / "tour" / "fabric.sock"]:
    if opens(path):
        print(path.relative_to(home))
"""
# Ports, a process number, locks; and a working copy, which is a folder like others of a user.
NOT_PRIVATE = {"ports.json", "server.json", "server.lock", "copy", "copy.lock"}


@dataclass
class AtWork:
    """A lab in which somebody works.

    Attributes:
        lab: its processes.
        ports: every port that something of it must listen on.
        endpoint: the one that the kernel serves its agent on.
        token: what lets one into the lab.
    """

    lab: Lab
    ports: set[int | None]
    endpoint: int
    token: str

    def listening(self) -> dict[tuple[str, int], int]:
        """Return where its processes listen, as soon as all have begun to, or after a while."""
        end = time.monotonic() + 30
        while True:
            found = listening(self.lab.family())
            if self.ports <= {port for _, port in found} or time.monotonic() > end:
                return found
            time.sleep(0.1)


def listening(processes: Iterable[psutil.Process]) -> dict[tuple[str, int], int]:
    """Return the process of every address that waits for somebody, by TCP or UDP, IPv4 or IPv6."""
    return {
        (each.laddr.ip, each.laddr.port): process.pid
        for process in processes
        for each in process.net_connections("inet")
        if each.status == psutil.CONN_LISTEN
        or (each.type == socket.SOCK_DGRAM and each.laddr and not each.raddr)
    }


@pytest.fixture(scope="module")
def at_work() -> Iterator[AtWork]:
    with tempfile.TemporaryDirectory(prefix="tour-open-") as folder:
        home = Path(folder)
        home.chmod(0o755)  # as `mkdir` makes one: what is private in it is so by itself
        running = Lab(home, f"--port={free_port()}")
        try:
            jupyter, ui = running.links()
            headers = {"authorization": f"token {jupyter.params['token']}"}
            made = httpx.post(jupyter.copy_with(raw_path=b"/api/kernels"), headers=headers)
            kernel = made.raise_for_status().json()["id"]
            own = json.loads(run_in(kernel, home, IN_A_KERNEL).splitlines()[-1])
            connection = json.loads(
                (home / "jupyter" / "runtime" / f"kernel-{kernel}.json").read_text()
            )
            channels = [port for name, port in connection.items() if name.endswith("_port")]
            ingress = json.loads((home / "server.json").read_text())["tour"]["ingress"]
            assert len(channels) == 5
            assert connection["curve_secretkey"]  # without, everybody here may listen in
            ports = {jupyter.port, ui.port, httpx.URL(ingress).port, *channels, *own}
            yield AtWork(running, ports, own[0], jupyter.params["token"])
        finally:
            running.drop()


# ---- what listens


def test_the_search_finds_every_kind_of_socket() -> None:
    kinds = [
        (family, kind)
        for family in (socket.AF_INET, socket.AF_INET6)
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)
    ]
    with ExitStack() as opened:
        bound = set()
        for family, kind in kinds:
            each = opened.enter_context(socket.socket(family, kind))
            each.bind(("127.0.0.2" if family == socket.AF_INET else "::1", 0))
            if kind == socket.SOCK_STREAM:
                each.listen()
            bound.add(each.getsockname()[:2])
        assert bound <= listening([psutil.Process()]).keys()


def test_a_lab_listens_on_loopback_alone_and_with_nothing_that_we_do_not_know(
    at_work: AtWork,
) -> None:
    assert len(at_work.ports) == 12  # lab, kernel 5, server 2, endpoint, stand-in, model, agent
    found = at_work.listening()
    assert {address for address, _ in found} == {LOOPBACK}
    assert {port for _, port in found} >= at_work.ports
    [unknown] = {port for _, port in found} - at_work.ports
    # ipykernel's own, where a kernel takes up what its children print.
    assert found[LOOPBACK, unknown] == found[LOOPBACK, at_work.endpoint]


# ---- what another user sees


def test_no_token_is_in_an_argument_or_with_the_server(at_work: AtWork) -> None:
    family = at_work.lab.family()
    shown = [" ".join(process.cmdline()) for process in family]
    assert any("jupyterlab" in each for each in shown)
    assert len(at_work.token) > 40
    assert at_work.token not in "\n".join(shown)
    [restate_server] = [each for each in family if each.name() == "restate-server"]
    assert at_work.token not in str(restate_server.environ())


def test_what_is_private_in_a_home_is_private_wherever_it_lies(at_work: AtWork) -> None:
    home = at_work.lab.home
    private = {path for path in [home, *home.rglob("*")] if not path.stat().st_mode & 0o077}
    opened = {
        str(path.relative_to(home)).split("/")[0]
        for path in home.rglob("*")
        if not path.is_dir() and not private & {path, *path.parents}
    }
    assert opened == {*NOT_PRIVATE, "exported"}
    assert {"data", "logs", "attempts.db", "attempts.db-wal"} <= {path.name for path in private}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_opens_nothing_that_is_private(at_work: AtWork) -> None:
    home = at_work.lab.home
    assert (home / "data" / "tour" / "fabric.sock").is_socket()
    ran = [sys.executable, "-c", STRANGER, str(home)]
    said = subprocess.run(ran, capture_output=True, text=True, check=True).stdout.splitlines()
    assert {path.split("/")[0] for path in said} == {*NOT_PRIVATE, "exported"}


# ---- what would break a query


@pytest.mark.parametrize("name", ["O'Brien", "x' or '1'='1", "a b", "Ünal"])
def test_a_name_that_could_break_a_query_is_none_for_restate(name: str, serve: Serve) -> None:
    service, objects = restate.Service(name), restate.VirtualObject("Quoted")

    @service.handler("say")
    async def say(ctx: restate.Context) -> None: ...

    @objects.handler(name)
    async def keep(ctx: restate.ObjectContext) -> None: ...

    for refused in (service, objects):
        with pytest.raises(TourError, match=rf"^{re.escape(refused.name)} not registered"):
            serve(refused)


@pytest.mark.anyio
@pytest.mark.parametrize("odd", ["o'brien", "x' or '1'='1", "%' --", "a/b", "<script>"])
async def test_a_key_and_a_step_may_be_called_anything(odd: str, serve: Serve) -> None:
    objects = restate.VirtualObject("OddNames")

    @objects.handler()
    async def keep(ctx: restate.ObjectContext) -> str:
        ctx.set(odd, odd)
        return await ctx.run_typed(odd, lambda: odd)

    serve(objects)
    run = await tour.call(keep, key=odd)
    assert (run.result, run.journal.target) == (odd, f"OddNames/{odd}/keep")
    assert run.journal.attempts(odd) == [1]
    assert tour.latest(keep).id == run.id
    assert "<script" not in run.timeline._repr_html_()
