"""A key that is set in the environment is sent to the model, and is found nowhere else.

A search that finds nothing proves nothing: each of these must find, in the same places, words that
were put there on purpose.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import nbformat
import psutil
import pytest
import restate
from nbclient import NotebookClient

import tour
from tests.helpers.exercise_source import NOTEBOOKS, read
from tests.helpers.exported import register
from tests.helpers.outside import set_for_servers
from tests.helpers.serving import Serve
from tour import server
from tour.asgi import AsgiServer, LoopThread, free_port
from tour.export import export, source
from tour.home import home
from tour.model import OfflineModel, build

pytestmark = pytest.mark.timeout(300)

KEY = "sk-proj-d8a1f0c47be94e0f"
LAB_SECRETS = ("JUPYTER_TOKEN", "JUPYTERHUB_API_TOKEN")
SENT = "4b71e6a9-what-a-caller-sent"
LEAKED = "sk-leak-5f93a2d07c11"
NUMBERS = [path.name[:2] for path in NOTEBOOKS]
FAULTS: list[dict[str, Any]] = [{"status": 401}, {"status": 429}, {"kind": "cut"}]
AT_WORK = "select id from sys_invocation where status in ('ready', 'pending')"


class KeyedModel(OfflineModel):
    """The stand-in, noting what its callers prove themselves with."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: set[str] = set()

    def start(self, port: int = 0) -> str:
        app = build(self)

        async def noting(scope: Any, receive: Any, send: Any) -> None:
            self.keys |= {v.decode() for k, v in scope.get("headers", []) if k == b"authorization"}
            await app(scope, receive, send)

        self._server = AsgiServer(noting, LoopThread("keyed-model"), port)
        return self.url


@dataclass
class Place:
    """A home of its own, where everything runs with a key in its environment."""

    home: Path
    model: KeyedModel

    def found(self, words: str) -> set[str]:
        """Return the tables and the files in which words occur, and the model's own record."""
        records = {"requests": repr(self.model.requests)}
        tables = [row["table_name"] for row in server.query("show tables") if public(row)]
        records |= {table: json.dumps(server.query(f"select * from {table}")) for table in tables}
        # The server shows the bytes of a value as they are in hexadecimal alone.
        wanted = (words, words.encode().hex())
        found = {name for name, text in records.items() if any(each in text for each in wanted)}
        for path in self.home.rglob("*"):
            if path.is_file() and words.encode() in path.read_bytes():
                found.add(str(path.relative_to(self.home)))
        return found


def public(table: dict[str, str]) -> bool:
    return table["table_schema"] == "public"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    home, model = tmp_path_factory.mktemp("home"), KeyedModel()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOUR_HOME", str(home))
        patch.setenv("OPENAI_BASE_URL", model.start())
        patch.setenv("OPENAI_API_KEY", KEY)
        for name in LAB_SECRETS:  # a kernel has them, and may have to bring the server back
            patch.setenv(name, KEY)
        # Else what is stored is unreadable.
        off = "RESTATE_{}__ROCKSDB_DISABLE_WAL_COMPRESSION"
        readable = {off.format(each): "true" for each in ("WORKER__STORAGE", "LOG_SERVER")}
        set_for_servers(patch, **readable)
        server.up()
        yield Place(home, model)
        server.down()
    model.stop()


def test_the_server_does_not_get_it(place: Place) -> None:
    assert {os.environ[name] for name in ("OPENAI_API_KEY", *LAB_SECRETS)} == {KEY}
    environment = psutil.Process(server.pid()).environ()
    assert environment["RESTATE_NODE_NAME"] == "tour"
    assert KEY not in str(environment)


def said_by_tour(command: str) -> str:
    line = [sys.executable, "-m", "tour", command]
    ran = subprocess.run(line, capture_output=True, text=True, check=False)
    return ran.stdout + ran.stderr


@pytest.mark.anyio
async def test_a_password_in_an_address_is_not_shown(
    place: Place, serve: Serve, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    running = server.ensure()
    for name, url in {
        "RESTATE_INGRESS_URL": running.ingress,
        "RESTATE_ADMIN_URL": running.admin,
        "OPENAI_BASE_URL": place.model.url,
    }.items():
        monkeypatch.setenv(name, url.replace("//", f"//me:{KEY}@"))
    assert KEY in server.ensure().admin
    echo = restate.Service("EchoByPassword")

    @echo.handler()
    async def say(ctx: restate.Context) -> str:
        return await ctx.run_typed("say", lambda: "hello")

    tour.start()
    serve(echo)
    said = repr(run := await tour.call(say)) + run.timeline._repr_html_() + capsys.readouterr().out
    said += "".join(said_by_tour(command) for command in ("up", "status", "doctor"))
    monkeypatch.setenv("RESTATE_INGRESS_URL", f"http://me:{KEY}@127.0.0.1:9")
    refused = said_by_tour("up")
    assert "No Restate answers at RESTATE_INGRESS_URL=http://127.0.0.1:9 and" in refused
    said += refused
    assert said.count(f"UI at {running.admin}") == 4
    assert said.count(f"{running.admin}/ui/invocations/{run.id}") == 1
    assert said.count(place.model.url) == 2
    assert KEY not in said


# ---- every notebook's agent, as it is exported


def run_alone(folder: Path, number: str, port: int) -> "subprocess.Popen[str]":
    """Run an exported agent with a key of its own; what it says lies beside it."""
    environment = os.environ | {"PORT": str(port), "OPENAI_API_KEY": f"{KEY}-{number}"}
    with (folder / "said.log").open("w") as said:
        return subprocess.Popen(
            [sys.executable, "-I", "-u", "agent.py"],
            cwd=folder,
            env=environment,
            stdout=said,
            stderr=subprocess.STDOUT,
            text=True,
        )


def send_all(folder: Path, key: str) -> None:
    """Make every call of a project's README, without waiting for what comes of it."""
    calls = re.findall(r"^curl \S+:8080(/\S+) (.*)$", (folder / "README.md").read_text(), re.M)
    assert calls
    for path, options in calls:
        words = shlex.split(options)
        body = words[-1] if "-d" in words else ""
        headers = {"x-sent": SENT} | ({"content-type": "application/json"} if body else {})
        url = f"{server.ensure().ingress}{path.replace('my-key', key)}/send"
        assert httpx.post(url, content=body, headers=headers).is_success, path


def come_to_rest(model: OfflineModel) -> None:
    """Wait until nobody asks the model any more."""
    calls = -1
    while calls < model.calls or server.query(AT_WORK):
        calls = model.calls
        time.sleep(0.5)


@pytest.mark.parametrize("numbers", [NUMBERS[:1], pytest.param(NUMBERS, marks=pytest.mark.slow)])
def test_an_agent_tells_nobody(place: Place, numbers: list[str]) -> None:
    place.model.keys.clear()
    folders = {number: place.home / f"{len(numbers)} agents" / number for number in numbers}
    with ExitStack() as running:
        for number, folder in folders.items():
            export(number, folder)
            port = free_port()
            agent = running.enter_context(run_alone(folder, number, port))
            running.callback(agent.kill)
            register(port)
        for faults in [], FAULTS * 100:
            place.model.reset()
            for fault in faults:
                place.model.fail(**fault)
            for folder in folders.values():
                send_all(folder, f"key-{len(faults)}")
            come_to_rest(place.model)
        place.model.reset()
        place.model.latency = 30
        for folder in folders.values():
            send_all(folder, "key-at-last")
        while not place.model.calls:
            time.sleep(0.05)
    asking = {number for number in numbers if "AsyncOpenAI" in source(number)}
    assert {f"Bearer {KEY}-{number}" for number in asking} == place.model.keys
    assert {"sys_journal", "data"} <= {name.split("/")[0] for name in place.found(SENT)}
    assert place.found(KEY) == set()


def test_the_search_finds_a_key_that_an_agent_gives_away(place: Place, serve: Serve) -> None:
    careless = restate.VirtualObject("Careless")

    @careless.handler()
    async def step(ctx: restate.ObjectContext) -> str:
        return await ctx.run_typed("give away", lambda: LEAKED)

    @careless.handler()
    async def state(ctx: restate.ObjectContext) -> None:
        ctx.set("key", LEAKED)

    @careless.handler()
    async def failure(ctx: restate.ObjectContext) -> None:
        def fail() -> None:
            raise restate.TerminalError(LEAKED)

        await ctx.run_typed("fail", fail)

    serve(careless)
    where = {"step": "sys_journal", "state": "state", "failure": "sys_invocation"}
    assert place.found(LEAKED) == set()
    for handler in where:
        httpx.post(f"{server.ensure().ingress}/Careless/key/{handler}", timeout=30)
    found = place.found(LEAKED)
    assert {*where.values(), "attempts.db-wal"} <= found
    assert any(name.startswith("data/") for name in found)


# ---- a notebook


def executed(place: Place, cells: list[str]) -> str:
    """Run cells as the lab does, errors or not; return the notebook with all that they showed."""
    make: Any = nbformat.v4
    notebook = make.new_notebook(cells=[make.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=60, allow_errors=True).execute(cwd=str(home()))
    return str(nbformat.writes(notebook))  # type: ignore[no-untyped-call]


def test_a_notebook_does_not_show_it(place: Place) -> None:
    place.model.reset()
    place.model.keys.clear()
    place.model.fail(2, status=429, retry_after=0)
    shown = executed(
        place,
        [
            "import tour; tour.start()",
            source("01"),
            "endpoint = tour.serve(weather); endpoint",
            "run = await tour.call(run, {})",
            "run.journal",
            "run.timeline",
            "import os; print(os.environ['OPENAI_API_KEY'][::-1])",
        ],
    )
    assert "LLM call" in shown
    assert KEY[::-1] in shown  # what is printed is found
    assert place.model.keys == {f"Bearer {KEY}"}
    assert KEY not in shown
    assert place.found(KEY) == set()


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_cell_of_any_notebook_shows_it(place: Place, notebook: Path) -> None:
    place.model.reset()
    place.model.keys.clear()
    cells = [cell.source for cell in read(notebook).cells if cell.cell_type == "code"]
    shown = executed(place, cells)
    assert place.model.keys == {f"Bearer {KEY}"}
    assert KEY not in shown
    assert place.found(KEY) == set()
