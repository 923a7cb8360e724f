"""Proxies and certificates that no client can use: in nobody's way on this machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.environments import complaint, lab, problems, program, tour
from tests.helpers.kernels import Kernel

pytestmark = pytest.mark.timeout(120)

UNUSABLE = [
    ("ALL_PROXY", "socks5://127.0.0.1:9"),
    ("all_proxy", "socks://127.0.0.1:9"),
    ("HTTPS_PROXY", "http://127.0.0.1:bad"),
    ("http_proxy", "ftp://127.0.0.1:9"),
    ("SSL_CERT_FILE", "/no/such"),
    ("SSL_CERT_FILE", "/etc/passwd"),
    ("SSL_CERT_DIR", "/no/such"),
    ("SSLKEYLOGFILE", "/no/such/log"),
    ("NO_PROXY", "[::1],example.com"),
]
EACH_IN_A_COMMAND = [
    pytest.param(*each, marks=[] if each in UNUSABLE[:1] else pytest.mark.slow) for each in UNUSABLE
]
ELSEWHERE = {"OPENAI_BASE_URL": "https://model.invalid/v1", "OPENAI_API_KEY": "sk-x"}
AGENT = """
import os, restate, tour
from openai import AsyncOpenAI

service = restate.Service("InAnyEnvironment")

@service.handler()
async def ask(ctx: restate.Context, question: str) -> str:
    async def model() -> str:
        asked = [{"role": "user", "content": question}]
        reply = await AsyncOpenAI().chat.completions.create(model="any", messages=asked)
        return reply.choices[0].message.content
    return await ctx.run_typed("LLM call", model)

async def agent_answers() -> int:
    tour.start()
    tour.serve(service)
    return len((await tour.call(ask, "Weather in Paris?")).result)
"""
EACH = """
import asyncio, sys
import restate.client

async def every() -> None:
    for name, value in VARIABLES:
        os.environ[name] = value
        assert await agent_answers()
        async with restate.create_client(tour.server.ingress):  # what an agent's caller may use
            pass
        print("fine with", name, name in os.environ)

asyncio.run(every())
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("home")
    yield home
    tour("down", home=home)


def test_an_agent_runs_in_a_kernel_whatever_is_said_of_the_way_to_the_world(home: Path) -> None:
    env = {"ALL_PROXY": "socks5://127.0.0.1:9", "SSL_CERT_FILE": "/no/such"}
    with Kernel(TOUR_HOME=str(home), **env) as kernel:
        shown = kernel.good(f"{AGENT}\nassert await agent_answers()")
    assert "Not used here, because no HTTP client can use it: ALL_PROXY, SSL_CERT_FILE." in (
        shown.stdout.splitlines()
    )


def test_each_of_them_is_taken_out_of_the_way(home: Path) -> None:
    ran = program(AGENT + EACH.replace("VARIABLES", repr(UNUSABLE)), home)
    assert ran.returncode == 0, ran.stdout
    fine = [line for line in ran.stdout.splitlines() if line.startswith("fine")]
    assert fine == [f"fine with {name} {name == 'NO_PROXY'}" for name, _ in UNUSABLE]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "value"), UNUSABLE)
def test_the_commands_need_no_way_to_the_world(home: Path, name: str, value: str) -> None:
    assert tour("up", home=home, **{name: value}).returncode == 0
    assert problems(home, **{name: value}) == []


@pytest.mark.parametrize(("name", "value"), EACH_IN_A_COMMAND)
def test_where_the_model_is_elsewhere_the_variable_is_named(
    home: Path, name: str, value: str
) -> None:
    env = ELSEWHERE | {name: value}
    [problem] = problems(home, **env)
    assert problem.startswith(f"{name} ")
    assert value not in problem
    started = program("import tour\ntour.start()", home, **env)
    assert started.stdout.splitlines()[-1] == f"tour.errors.TourError: {problem}"
    if name == "ALL_PROXY":
        assert complaint(tour("lab", str(home / "copy"), home=home, **env)) == problem


@pytest.mark.slow
def test_the_lab_opens_whatever_is_said_of_the_way_to_the_world(home: Path) -> None:
    with lab(home, ALL_PROXY="socks5://127.0.0.1:9", SSL_CERT_FILE="/no/such") as opened:
        assert opened.said[0].endswith("no HTTP client can use it: ALL_PROXY, SSL_CERT_FILE.")


def test_hosts_that_are_to_be_reached_without_a_proxy_stay(home: Path) -> None:
    code = "import tour, urllib.request\ntour.start()\nprint(urllib.request.getproxies()['no'])"
    env = {"NO_PROXY": "model.example, .corp", "HTTPS_PROXY": "http://127.0.0.1:9"}
    listed = program(code, home, **env).stdout.splitlines()[-1].split(",")
    assert {"model.example", ".corp", "127.0.0.1", "localhost"} <= set(listed)
    lower = program(code, home, no_proxy="model.example").stdout.splitlines()[-1].split(",")
    assert {"model.example", "127.0.0.1"} <= set(lower)


@pytest.mark.slow
def test_a_proxy_that_works_stays_in_the_environment(home: Path) -> None:
    code = f"{AGENT}\nimport asyncio\nasyncio.run(agent_answers())\nprint(os.environ['ALL_PROXY'])"
    proxy = "http://user:secret@127.0.0.1:9"
    ran = program(code, home, ALL_PROXY=proxy, HTTPS_PROXY=proxy)
    assert ran.stdout.splitlines()[-1] == proxy
    assert "Not used" not in ran.stdout
