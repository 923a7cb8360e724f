"""What `tour export` writes: an agent that stands alone, and survives a crash without the tour."""

import ast
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import psutil
import pytest
import restate

from tests.helpers import ROOT
from tests.helpers.exercise_source import NOTEBOOKS
from tests.helpers.programs import output
from tests.helpers.serving import stand_in
from tour import server
from tour.asgi import free_port
from tour.errors import TourError
from tour.export import calls, export, load, source
from tour.model import OfflineModel

NUMBERS = [path.name[:2] for path in NOTEBOOKS]
MAY_IMPORT = {"restate", "openai", "pydantic", "hypercorn"}
PINNED = {"restate-sdk", "openai", "pydantic", "hypercorn"}
ON_AN_AGENT_SDK = "09"

Serve = Callable[..., "subprocess.Popen[str]"]


def tour_export(number: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tour", "export", number, str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def commands(project: Path) -> list[str]:
    """Return the README's three commands: run, register, call."""
    return re.findall(r"^```sh\n(.*?)\n```$", (project / "README.md").read_text(), re.M | re.S)


def shell(command: str, **ports: int) -> Any:
    """Run a command of the README where other ports than the usual ones are in use."""
    for usual, port in ports.items():
        command = command.replace(f"127.0.0.1:{usual.strip('_')}", f"127.0.0.1:{port}")
    command = re.sub(r"^curl", "curl --silent --show-error --fail-with-body", command)
    return json.loads(subprocess.run(command, shell=True, capture_output=True, check=True).stdout)


def until(true: Callable[[], object]) -> None:
    while not true():  # the test's own timeout ends this
        time.sleep(0.01)


# ---- the command


@pytest.fixture(scope="module", params=NUMBERS)
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One exported notebook."""
    folder: Path = tmp_path_factory.mktemp("export") / "not yet there" / request.param
    ran = tour_export(request.param, folder)
    assert ran.returncode == 0, ran.stderr
    names = ["agent.py", "pyproject.toml", "README.md"]
    assert ran.stdout.splitlines() == [str(folder / name) for name in names]
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    return folder


def test_a_folder_with_anything_in_it_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")  # an agent's client is made when it is loaded
    kept = tmp_path / "kept"
    kept.write_text("mine")
    ran = tour_export("01", tmp_path)
    sentence = f"{tmp_path} is not empty. Name a folder that is, or that is not there yet."
    assert (ran.returncode, ran.stderr) == (1, f"tour export: {sentence}\n")
    with pytest.raises(TourError, match=r"^.*kept is not empty"):
        export("01", kept)
    with pytest.raises(TourError, match=r"^Cannot write to .*below: Not a directory"):
        export("01", kept / "below")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert kept.read_text() == "mine"


def test_a_notebook_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    ran = tour_export("99", tmp_path)
    assert ran.returncode == 1
    assert len(ran.stderr.splitlines()) == 1
    assert "There is no notebook '99'" in ran.stderr
    assert f"There are: {', '.join(NUMBERS)}." in ran.stderr
    for unknown in ("0*", "", "../01", "01_durable_execution"):
        with pytest.raises(TourError, match=f"^There is no notebook {re.escape(repr(unknown))} "):
            export(unknown, tmp_path)
    assert not list(tmp_path.iterdir())


# ---- the files


def test_the_agent_imports_what_is_pinned_and_nothing_of_the_tour(project: Path) -> None:
    tree = ast.parse((project / "agent.py").read_text())
    nodes = list(ast.walk(tree))
    named = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    named += [str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)]
    rooms = {name.split(".")[0] for name in named} - sys.stdlib_module_names
    on_an_agent_sdk = project.name == ON_AN_AGENT_SDK
    assert rooms - MAY_IMPORT == ({"agents"} if on_an_agent_sdk else set())
    wanted = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    assert wanted["requires-python"] == ">=3.11"
    pinned = ["restate-sdk", "openai", "hypercorn", "pydantic"]
    pinned += ["openai-agents"] if on_an_agent_sdk else []
    assert wanted["dependencies"] == [f"{name}=={version(name)}" for name in pinned]
    assert f"pip install {' '.join(wanted['dependencies'])} &&" in commands(project)[0]


def test_the_agent_reads_the_model_and_its_port_from_the_environment(project: Path) -> None:
    code = (project / "agent.py").read_text()
    read = re.findall(r"environ(?:\.get\(|\[)['\"](\w+)", code)
    assert set(read) <= {"PORT", "OPENAI_MODEL", "OPENAI_BASE_URL", "OPENAI_API_KEY"}
    assert len(read) == len(re.findall(r"environ|getenv", code))


def test_the_project_is_well_formatted(project: Path) -> None:
    ruff = [sys.executable, "-m", "ruff"]
    # As a reader's own ruff sees it: without this repository's settings.
    for options in (["check", "--isolated", "--no-cache"], ["format", "--check", "--no-cache"]):
        ran = subprocess.run(
            [*ruff, *options, "."], cwd=project, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stdout


# ---- the agent at work, in an environment without the tour


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that the README's own first command has set up, as far as to its start."""
    folder = tmp_path_factory.mktemp("installed") / "agent"
    assert tour_export("01", folder).returncode == 0
    *setting_up, _ = commands(folder)[0].split(" && ")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL"))}
    for command in setting_up:
        subprocess.run(
            command, shell=True, cwd=folder, env=env | {"PATH": path}, check=True, timeout=150
        )
    return folder


@pytest.fixture
def model() -> Iterator[OfflineModel]:
    with stand_in() as model:
        yield model


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def serve(installed: Path, model: OfflineModel, port: int) -> Iterator[Serve]:
    """What starts the agent with the README's command, on this port."""
    command = commands(installed)[0].split(" && ")[-1].split()
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    env |= {"OPENAI_BASE_URL": model.url, "OPENAI_API_KEY": "none", "PORT": str(port)}
    started: list[subprocess.Popen[str]] = []

    def serve(script: str = "agent.py", python: str = command[0]) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [python, script], cwd=installed, env=env, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        until(lambda: listening(process) or process.poll() is not None)
        return process

    yield serve
    for process in started:
        process.kill()
        process.communicate()


def listening(process: "subprocess.Popen[str]") -> list[tuple[str, int]]:
    with suppress(psutil.Error):
        found = psutil.Process(process.pid).net_connections()
        return [tuple(s.laddr) for s in found if s.status == psutil.CONN_LISTEN]
    return []


@pytest.fixture
def restate_ports() -> SimpleNamespace:
    ingress, admin = server.up().ports
    return SimpleNamespace(ingress=ingress, admin=admin)


@pytest.fixture
def in_flight(
    installed: Path, model: OfflineModel, port: int, restate_ports: SimpleNamespace
) -> Callable[[], str]:
    """What makes a call and returns its id when its second model call has begun."""

    def begin() -> str:
        _, register, call = commands(installed)
        shell(register, _9070=restate_ports.admin, _9080=port)
        model.latency = 1.5  # of the first call, so that there is time to set the second's
        sent = shell(call.replace("/run ", "/run/send "), _8080=restate_ports.ingress)
        until(lambda: model.calls == 1)
        model.latency = 30
        until(lambda: model.calls == 2)
        return str(sent["invocationId"])

    return begin


def test_the_environment_is_empty_of_the_tour(installed: Path) -> None:
    python = installed / ".venv" / "bin" / "python"
    code = "import sys, importlib.metadata as m; print(*[d.name for d in m.distributions()])"
    ran = subprocess.run(
        [python, "-I", "-c", code], cwd=installed, capture_output=True, text=True, check=True
    )
    names = {name.replace("_", "-") for name in ran.stdout.lower().split()}
    assert names >= PINNED
    assert not names & {"tour-of-durable-agents", "ipykernel", "ipython", "jupyterlab", "nbformat"}
    assert subprocess.run([python, "-I", "-c", "import tour"], check=False, stderr=-3).returncode


@pytest.mark.timeout(180)  # it is the first to need the environment
def test_the_readme_s_commands_work_on_loopback_alone(
    installed: Path, serve: Serve, port: int, restate_ports: SimpleNamespace
) -> None:
    agent = serve()
    assert listening(agent) == [("127.0.0.1", port)]
    _, register, call = commands(installed)
    assert shell(register, _9070=restate_ports.admin, _9080=port)["services"]
    assert shell(call, _8080=restate_ports.ingress) == "San Francisco: 23 °C, sunny."


def test_the_readme_calls_no_handler_that_the_ingress_refuses() -> None:
    half, hidden = restate.Service("Half"), restate.Service("Hidden", ingress_private=True)

    async def handler(ctx: restate.Context) -> None: ...

    half.handler("run")(handler)
    half.handler("secret", ingress_private=True)(handler)
    hidden.handler("run")(handler)
    lines = calls([half, hidden])
    assert lines == ["curl http://127.0.0.1:8080/Half/run -X POST"]


@pytest.mark.timeout(180)
def test_every_call_of_the_readme_ends_or_waits(
    project: Path, serve: Serve, port: int, restate_ports: SimpleNamespace
) -> None:
    """Each agent of each notebook: none of its documented calls is left failing."""
    # What was set up is the environment of an agent that is on no SDK.
    python = {"python": sys.executable} if project.name == ON_AN_AGENT_SDK else {}
    serve(str(project / "agent.py"), **python)
    _, register, calls = commands(project)
    for service in shell(register, _9070=restate_ports.admin, _9080=port)["services"]:
        # What waits for a human is suspended at once, so that the test can tell.
        server.request(
            "PATCH", f"/services/{service['name']}", json={"inactivity_timeout": "100ms"}
        )
    sending = re.sub(r"^(curl http\S+)", r"\1/send", calls, flags=re.M).splitlines()
    sent = [shell(call, _8080=restate_ports.ingress)["invocationId"] for call in sending]
    ids = ", ".join(f"'{invocation}'" for invocation in sent)
    query = f"select target, status, completion_failure from sys_invocation where id in ({ids})"
    until(lambda: {row["status"] for row in server.query(query)} <= {"completed", "suspended"})
    assert not [row for row in server.query(query) if "completion_failure" in row]


@pytest.mark.timeout(180)
def test_a_killed_agent_goes_on_where_it_was(
    model: OfflineModel, serve: Serve, in_flight: Callable[[], str], restate_ports: SimpleNamespace
) -> None:
    agent = serve()
    invocation = in_flight()
    agent.send_signal(signal.SIGKILL)
    assert agent.wait() == -signal.SIGKILL
    model.latency = 0
    serve()
    url = f"http://127.0.0.1:{restate_ports.ingress}/restate/invocation/{invocation}/attach"
    assert httpx.get(url, timeout=50).json() == "San Francisco: 23 °C, sunny."
    asked, answered, again = model.requests
    assert len(asked["messages"]) == 2
    assert answered == again, "the step that was cut is the one that ran again"
    assert len(answered["messages"]) == 4
    assert model.calls == 3


@pytest.mark.timeout(180)
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_at_once_with_work_in_flight(
    ending: signal.Signals, serve: Serve, in_flight: Callable[[], str]
) -> None:
    agent = serve()
    in_flight()
    agent.send_signal(ending)
    assert agent.wait(timeout=5) == 0
    assert agent.stderr
    assert "Traceback" not in agent.stderr.read()


@pytest.mark.timeout(180)
def test_a_signal_ends_it_while_a_tool_blocks_a_thread(
    installed: Path, model: OfflineModel, serve: Serve, port: int, restate_ports: SimpleNamespace
) -> None:
    code = (installed / "agent.py").read_text()
    tool = "async def fetch_weather(city: str) -> str:\n"
    assert tool in code
    blocking = "    os.mkdir('begun')\n    __import__('time').sleep(40)\n"
    (installed / "blocking.py").write_text(
        code.replace(tool, tool.removeprefix("async ") + blocking)
    )
    agent = serve("blocking.py")
    _, register, call = commands(installed)
    shell(register, _9070=restate_ports.admin, _9080=port)
    shell(call.replace("/run ", "/run/send "), _8080=restate_ports.ingress)
    until((installed / "begun").exists)
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(timeout=5) == 0


@pytest.mark.timeout(180)
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_at_once_when_idle(ending: signal.Signals, serve: Serve) -> None:
    agent = serve()
    agent.send_signal(ending)
    assert agent.wait(timeout=5) == 0
    assert agent.stderr
    assert "Traceback" not in agent.stderr.read()


@pytest.mark.timeout(180)
def test_a_taken_port_is_said_and_is_a_failure(serve: Serve, port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        agent = serve()
        assert agent.wait(timeout=20) == 1
    assert agent.stderr
    said = agent.stderr.read().splitlines()
    assert f"Cannot serve on 127.0.0.1:{port}" in said[-1]
    assert "in use" in said[-1]
    assert not any("Traceback" in line for line in said)


@pytest.mark.timeout(180)
def test_no_connection_ends_for_having_served_much(serve: Serve, port: int) -> None:
    """Else an attempt in flight is cut: a step that is paid for runs again."""
    serve()
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", http1=False, http2=True) as client:
        streams = (client.get("/health").extensions["network_stream"] for _ in range(1100))
        assert len({stream.get_extra_info("client_addr") for stream in streams}) == 1


# ---- from Python


@pytest.fixture
def notebooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a notebook of which every cell is a snippet, and one that has none."""
    monkeypatch.setattr("tour.home.course", lambda: tmp_path)
    cells = [
        ("markdown", '# 7 · Say "hi"', []),
        ("code", "import tour", []),
        ("code", "import json\nfrom pydantic import BaseModel\nimport os", ["snippet"]),
        ("code", "import json\n\nTEXT = json.loads('''[\n\n\n\n\n]''')", ["snippet"]),
        ("code", "from pydantic import Field", ["snippet"]),
        ("code", "from typing import TYPE_CHECKING, Any", ["snippet"]),
        ("code", "KIND: Any = TYPE_CHECKING", ["snippet"]),
        ("code", "class A(BaseModel):\n    b: 'B | None' = Field(None)", ["snippet"]),
        ("code", "class B(BaseModel):\n    path: str = os.sep", ["snippet"]),
    ]
    for number, chosen in {"07": cells, "08": cells[:2]}.items():
        written: list[dict[str, Any]] = [
            {"cell_type": kind, "id": f"c{n}", "metadata": {"tags": tags}, "source": source}
            | ({"outputs": [], "execution_count": None} if kind == "code" else {})
            for n, (kind, source, tags) in enumerate(chosen)
        ]
        notebook = {"cells": written, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        (tmp_path / f"{number}_made.ipynb").write_text(json.dumps(notebook))
    return tmp_path


def test_the_source_is_one_module_with_its_imports_first(notebooks: Path) -> None:
    code = source("07")
    assert code.startswith(
        "import json\nimport os\nfrom typing import TYPE_CHECKING, Any\n\n"
        "from pydantic import BaseModel, Field\n\nTEXT = "
    )
    assert "'''[\n\n\n\n\n]'''" in code
    assert "tour" not in code
    ran = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "-"],
        input=code, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout


def test_a_loaded_agent_is_a_module_of_its_own(notebooks: Path) -> None:
    agent = load("07")
    assert agent.__name__ == "agent_07"
    assert agent.A(b=agent.B()).b.path == os.sep
    assert load("07") is not agent


def test_what_cannot_be_loaded_is_said(notebooks: Path) -> None:
    for do in (source, load):
        with pytest.raises(TourError, match=r"^There is no notebook '99' in .*: 07, 08\.$"):
            do("99")
        with pytest.raises(TourError, match=r"^08_made.ipynb has no cell tagged `snippet`\.$"):
            do("08")
    shutil.rmtree(notebooks)
    with pytest.raises(TourError, match=r"There are: none\.$"):
        source("07")


def test_an_agent_is_loaded_quickly() -> None:
    """Whoever serves it in another process waits for it; nbformat alone would take a second."""
    output("import sys, tour.export as e; e.source('01'); assert 'nbformat' not in sys.modules")
