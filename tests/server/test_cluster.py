"""The cluster: three real servers on this machine, one of which is killed with work in flight."""

import asyncio
import os
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path

import httpx
import psutil
import pytest
import restate

import tour as learner
from tour import lab, server
from tour.asgi import LOOPBACK, AsgiServer
from tour.endpoint import thread
from tour.errors import TourError
from tour.server import Server

pytestmark = pytest.mark.timeout(120)

STEPS = 10
ANOTHER_KEY = "publickeyv1_9eB4BBgRYU9rZUsbwHf3fucoZwmk3wGAYik7jwNXsiSd"
begun: dict[str, list[int]] = defaultdict(list)
walking = restate.Service("ClusterWalk")


@walking.handler()
async def walk(ctx: restate.Context, name: str) -> str:
    async def step(number: int) -> int:
        begun[name].append(number)
        await asyncio.sleep(0.1)
        return number

    for number in range(STEPS):
        await ctx.run_typed(f"step {number}", step, number=number)
    return name


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A TOUR_HOME of its own; what was started there is gone afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setenv("TOUR_HOME", str(home))
        yield home
        server.down()
        server.cluster.down()


@pytest.fixture
def nodes(home: Path) -> dict[str, Server]:
    return server.cluster.up()


def tour(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tour", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def use(node: Server, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("RESTATE_INGRESS_URL", node.ingress)
    environment.setenv("RESTATE_ADMIN_URL", node.admin)


def connections(node: Server, port: int) -> int:
    """Count the connections of a node to an endpoint."""
    found = psutil.Process(node.pid).net_connections(kind="tcp")
    return sum(bool(each.raddr) and each.raddr.port == port for each in found)


@pytest.mark.parametrize("number", [0, 1, 4, -3])
def test_another_number_of_nodes_is_refused(home: Path, number: int) -> None:
    with pytest.raises(TourError, match=f"has 3 nodes, not {number}: "):
        server.cluster.up(number)
    assert server.cluster.nodes() == {}


def test_the_command_says_so_in_one_sentence(home: Path) -> None:
    ran = tour("up", "--nodes", "2")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert len(ran.stderr.splitlines()) == 1
    assert "has 3 nodes, not 2: " in ran.stderr


@pytest.mark.slow
def test_it_lives_beside_the_one_server_and_ends_with_it(home: Path) -> None:
    one = server.up()
    first, second = tour("up", "--nodes", "3"), tour("up", "--nodes", "3")
    assert first.returncode == 0, first.stderr
    assert second.stdout == first.stdout
    nodes = server.cluster.nodes()
    assert list(nodes) == ["node-1", "node-2", "node-3"]
    for name, node in nodes.items():
        assert f"{name}: Restate {node.version} at {node.ingress}, its UI at {node.admin}" in (
            first.stdout.splitlines()
        )
    assert server.running() == one
    said = tour("status").stdout
    assert all(f"process {each.pid}" in said for each in [one, *nodes.values()])

    ended = tour("down")
    assert ended.stdout == "Stopped restate-server.\nStopped the cluster, which had 3 nodes.\n"
    assert not any(each.process for each in [one, *nodes.values()])
    assert tour("down").stdout == "No restate-server of the tour runs.\n"
    assert tour("status").returncode == 1


def test_every_socket_listens_on_loopback_alone(nodes: dict[str, Server]) -> None:
    for node in nodes.values():
        sockets = psutil.Process(node.pid).net_connections(kind="inet")
        hosts = {each.laddr.ip for each in sockets if each.status == psutil.CONN_LISTEN}
        assert hosts == {LOOPBACK}


def test_its_private_key_is_nobody_else_s(nodes: dict[str, Server], home: Path) -> None:
    assert (home / "cluster" / "identity.pem").stat().st_mode & 0o777 == 0o600
    assert server.cluster.identity().startswith("publickeyv1_")


def test_an_agent_takes_requests_of_its_own_cluster_alone(
    nodes: dict[str, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(nodes["node-1"], monkeypatch)
    guarded = restate.Service("ClusterGuarded")
    for key in (server.cluster.identity(), ANOTHER_KEY):
        agent = AsgiServer(restate.app([guarded], identity_keys=[key]), thread())
        url = f"http://{LOOPBACK}:{agent.port}"
        assert httpx.get(f"{url}/discover").status_code == httpx.codes.UNAUTHORIZED
        refused = pytest.raises(TourError, match="401 Unauthorized")
        with refused if key == ANOTHER_KEY else nullcontext():
            server.request("POST", "/deployments", json={"uri": url, "force": True})
        agent.stop()


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_node_dies_with_work_in_flight_and_all_of_it_finishes(
    nodes: dict[str, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(nodes["node-1"], monkeypatch)
    endpoint = learner.serve(walking)
    # To be registered takes a connection; then each partition with work for it opens one.
    before = {name: connections(node, endpoint.port) for name, node in nodes.items()}
    runs = [await learner.send(walk, f"walk {number}") for number in range(6)]
    for run in runs:
        await run.until("step 2")
    after = {name: connections(node, endpoint.port) for name, node in nodes.items()}
    victim = max(nodes, key=lambda name: after[name] - before[name])
    assert after[victim] > before[victim]
    survivors = [node for name, node in nodes.items() if name != victim]
    memory = {name: psutil.Process(node.pid).memory_info().rss for name, node in nodes.items()}
    print(f"memory of the nodes in MB: {[size // 1_000_000 for size in memory.values()]}")
    use(survivors[0], monkeypatch)
    os.kill(int(nodes[victim].pid or 0), signal.SIGKILL)

    assert [await run.result() for run in runs] == [f"walk {number}" for number in range(6)]
    interrupted = 0
    for name, steps in begun.items():
        assert sorted(set(steps)) == list(range(STEPS)), name
        # A finished step never runs again. The one in flight does, at each change of the leader:
        # there is one when the node dies, and there may be another when its place is filled.
        assert all(later - before in (0, 1) for before, later in pairwise(steps)), (name, steps)
        assert len(steps) <= STEPS + 2, (name, steps)
        interrupted += len(steps) > STEPS
    assert interrupted, "nothing was in flight on the node that was killed"
    assert all(run.journal.steps == [f"step {n}" for n in range(STEPS)] for run in runs)

    status = tour("status")
    assert victim not in status.stdout
    assert "2 of 3 nodes run; `tour up --nodes 3` starts the others." in status.stdout
    back = server.cluster.up()
    assert [back[name] for name in nodes if name != victim] == survivors
    assert back[victim].ports == nodes[victim].ports
    assert back[victim].pid != nodes[victim].pid
    # The deployment was registered once, through one node; every node knows it.
    for node in back.values():
        use(node, monkeypatch)
        assert (await learner.call(walk, "once more")).result == "once more"
    endpoint.stop()


@pytest.mark.slow
def test_a_taken_port_is_one_sentence(nodes: dict[str, Server]) -> None:
    server.cluster.down()
    port = nodes["node-2"].ports[0]
    other = f"import socket; s = socket.create_server(('127.0.0.1', {port})); print(1); input()"
    with subprocess.Popen(
        [sys.executable, "-uc", other], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as taker:
        assert taker.stdout
        taker.stdout.readline()
        with pytest.raises(TourError, match=f"port {port} of node-2 is taken"):
            server.cluster.up()
        taker.kill()
    assert list(server.cluster.nodes()) == ["node-1"]
    assert list(server.cluster.up()) == ["node-1", "node-2", "node-3"]


@pytest.mark.parametrize("before", [True, False])
def test_the_lab_ends_the_cluster_that_began_in_it(
    nodes: dict[str, Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    monkeypatch.setattr("tour.lab.lab._lab", lambda *_: 0)
    with pytest.MonkeyPatch.context() as patch:
        if not before:
            patch.setattr("tour.server.cluster.nodes", dict)  # as the lab finds it when it begins
        assert lab.run([], tmp_path / "copy") == 0
    assert bool(server.cluster.nodes()) == before
