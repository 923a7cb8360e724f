"""Notebook 10: its agent as others see it, and what the notebook says without showing it."""

import asyncio
import json
import re
import time
from datetime import timedelta
from types import ModuleType
from typing import Any

import httpx
import pytest
import restate
from cryptography.fernet import Fernet

import tour
from tests.helpers.agents import agents_of, failure_of, namespace, says, tool_call
from tests.helpers.exercise_source import code_cells, numbered, read, solution
from tests.helpers.outside import post
from tests.helpers.programs import output
from tests.helpers.serving import Serve
from tour import server
from tour.asgi import AsgiServer
from tour.endpoint import thread
from tour.errors import Refused

NOTEBOOK = numbered("10")
STEPS = ["LLM call", "Find parcel", "LLM call"]


whole_notebook = agents_of("10")


@pytest.fixture
def agent(whole_notebook: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    async def quick_tool(number: int) -> str:
        return f"Parcel {number} is in Lyon."

    monkeypatch.setattr(whole_notebook, "find_parcel", quick_tool)
    return whole_notebook


def register(port: int, path: str = "") -> str:
    body = {"uri": f"http://127.0.0.1:{port}{path}", "force": True}
    return str(server.request("POST", "/deployments", json=body).json()["id"])


def stored(invocation: str) -> str:
    """Return all that the server has of an invocation, with bytes as the text that they are."""
    entries = f"select entry_json from sys_journal where id = '{invocation}' order by index"
    found = " ".join(row["entry_json"] for row in server.query(entries))
    return re.sub(r"\[[\d,]+\]", lambda b: bytes(json.loads(b[0])).decode(errors="replace"), found)


# ---- the agent


def test_the_call_of_its_readme_by_both_paths(agent: ModuleType) -> None:
    reply = post("/ParcelDesk/ask", json={"prompt": "Where is parcel 4711?"})
    assert (reply.status_code, reply.json()) == (200, "Parcel 4711 is in Lyon.")
    assert post("/restate/call/ParcelDesk/ask", json={}).json() == reply.json()
    document = server.request("GET", "/services/ParcelDesk/openapi").json()
    assert '"default": "Where is parcel 4711?"' in json.dumps(document)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("prompt", "answer", "steps"),
    [
        ("Has my parcel 99 arrived?", "Parcel 99 is in Lyon.", STEPS),
        ("I wait for parcel number 1234567, where is it", "Parcel 1234567 is in Lyon.", STEPS),
        ("parcel 8?", "Parcel 8 is in Lyon.", STEPS),
        ("Where is my parcel?", "I need one thing more: which number?", ["LLM call"]),
    ],
)
async def test_questions_that_are_not_in_the_notebook(
    agent: ModuleType, prompt: str, answer: str, steps: list[str]
) -> None:
    run = await tour.call(agent.ask, {"prompt": prompt})
    assert run.result == answer
    assert run.journal.steps == steps
    assert run.journal.attempts("LLM call") == [1] * steps.count("LLM call")


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"json": {"prompt": "Where is parcel 1?", "urgent": True}},
        {"json": {"prompt": 4711}},
        {"json": ["Where is parcel 1?"]},
        {"content": b"{", "headers": {"content-type": "application/json"}},
    ],
)
def test_bad_input_is_refused_at_once(agent: ModuleType, content: dict[str, Any]) -> None:
    reply = post("/ParcelDesk/ask", **content)
    assert reply.is_error
    assert reply.json()["message"]
    assert tour.offline.calls == 0


@pytest.mark.anyio
@pytest.mark.parametrize("arguments", ["{", "[]", '{"id": 1}', "null", '{"number": "many"}'])
async def test_a_tool_call_that_makes_no_sense_is_terminal(
    agent: ModuleType, monkeypatch: pytest.MonkeyPatch, arguments: str
) -> None:
    says(agent, monkeypatch, tool_call("parcel", arguments=arguments), ever=True)
    run = await tour.send(agent.ask, {})
    await failure_of(run, "makes no sense")
    assert run.journal.attempts("LLM call") == [1]


@pytest.mark.anyio
async def test_the_loop_ends_after_five_rounds(
    agent: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    says(agent, monkeypatch, tool_call("parcel", arguments='{"number": 1}'), ever=True)
    run = await tour.send(agent.ask, {})
    await failure_of(run, "no answer after five rounds")
    assert run.journal.steps == ["LLM call", "Find parcel"] * 5


# ---- versions


def version(name: str) -> tuple[restate.Service, Any, asyncio.Event]:
    """Return a service whose second step waits for an event, and says which version it is."""
    service, gate = restate.Service("ProductionVersion"), asyncio.Event()

    @service.handler("run")
    async def run(ctx: restate.Context, request: str) -> str:
        async def first() -> str:
            return name

        async def second() -> str:
            await gate.wait()
            return name

        return await ctx.run_typed("first", first) + await ctx.run_typed("second", second)

    return service, run, gate


@pytest.mark.anyio
async def test_a_run_whose_version_is_gone_can_be_moved(agent: ModuleType) -> None:
    """What is in the journal stays as the old version had it; the new one goes on."""
    old, run, _ = version("old")
    server_of_old = AsgiServer(restate.app([old]), thread())
    register(server_of_old.port)
    moved = await tour.send(run, "x")
    await moved.until("second")
    server_of_old.stop()
    await moved.until("backing-off")
    new, _, gate = version("new")
    gate.set()
    server_of_new = AsgiServer(restate.app([new]), thread())
    register(server_of_new.port)
    path = f"/invocations/{moved.id}"
    with pytest.raises(Refused, match="deployment id cannot be changed"):
        server.request("PATCH", f"{path}/resume?deployment=latest")
    server.request("PATCH", f"{path}/pause")
    await moved.until("paused")
    server.request("PATCH", f"{path}/resume?deployment=latest")
    assert await moved.result() == "oldnew"
    server_of_new.stop()


@pytest.mark.anyio
async def test_a_deployment_is_deleted_only_by_force_and_force_asks_nothing(
    agent: ModuleType,
) -> None:
    service, run, _ = version("doomed")
    doomed = AsgiServer(restate.app([service]), thread())
    deployment = register(doomed.port)
    stranded = await tour.send(run, "x")
    await stranded.until("second")
    with pytest.raises(Refused) as refusal:
        server.request("DELETE", f"/deployments/{deployment}")
    assert refusal.value.status == httpx.codes.NOT_IMPLEMENTED
    server.request("DELETE", f"/deployments/{deployment}?force=true")
    assert await stranded.status() == "running"
    doomed.stop()
    failure = f"select last_failure from sys_invocation where id = '{stranded.id}'"
    end = time.monotonic() + 20
    while "was forcefully removed" not in server.query(failure)[0].get("last_failure", ""):
        assert time.monotonic() < end
        await asyncio.sleep(0.1)
    await stranded.kill()


# ---- what a codec covers


class Sealed(restate.JournalValueCodec):
    """As in the notebook."""

    def __init__(self) -> None:
        """Make a key."""
        self.fernet = Fernet(Fernet.generate_key())

    def encode(self, buf: bytes) -> bytes:
        return self.fernet.encrypt(buf)

    async def decode(self, buf: bytes) -> bytes:
        return self.fernet.decrypt(buf)


@pytest.mark.anyio
async def test_what_a_codec_encrypts_and_what_it_does_not(agent: ModuleType) -> None:
    callee, caller = restate.Service("ProductionCallee"), restate.VirtualObject("ProductionCaller")

    @callee.handler("run")
    async def called(ctx: restate.Context, request: str) -> str:
        if request == "secret-of-a-failure":
            raise restate.TerminalError(request)
        return f"{request} secret-result"

    @caller.handler("run")
    async def calls(ctx: restate.ObjectContext, request: str) -> str:
        async def step() -> str:
            return "secret-of-a-step"

        ctx.set("name-of-a-state", "secret-of-a-state")
        await ctx.run_typed("name-of-a-step", step)
        name, answer = ctx.awakeable(type_hint=str)
        ctx.resolve_awakeable(name, "secret-of-an-awakeable")
        await answer
        await ctx.service_call(called, "secret-of-a-call")
        try:
            await ctx.service_call(called, "secret-of-a-failure")
        except restate.TerminalError as error:
            return f"{request} {error.message}"
        return ""

    codec = Sealed()
    sealed = AsgiServer(restate.app([callee, caller], journal_value_codec=codec), thread())
    await asyncio.to_thread(register, sealed.port)
    headers = {"x-api-key": "header-value", "idempotency-key": "name-of-a-request"}
    async with restate.create_client(server.ensure().ingress, journal_value_codec=codec) as client:
        answer = await client.object_call(
            calls,
            key="name-of-an-object",
            arg="secret-of-a-request",
            idempotency_key=headers["idempotency-key"],
            headers={"x-api-key": "header-value"},
        )
    assert answer == "secret-of-a-request secret-of-a-failure"
    kept = stored(tour.latest(calls).id)
    rows = server.query(
        f"select * from sys_invocation where id = '{tour.latest(calls).id}'"
    ) + server.query("select * from state where service_name = 'ProductionCaller'")
    everything = kept + json.dumps(rows)
    legible = {
        word
        for word in (
            "secret-of-a-step",
            "secret-of-a-state",
            "secret-of-an-awakeable",
            "secret-of-a-call",
            "secret-of-a-request",
            "secret-of-a-failure",
            "secret-result",
            "name-of-a-step",
            "name-of-a-state",
            "name-of-an-object",
            "name-of-a-request",
            "header-value",
        )
        if word in everything
    }
    assert legible == {
        "secret-of-a-failure",
        "name-of-a-step",
        "name-of-a-state",
        "name-of-an-object",
        "name-of-a-request",
        "header-value",
    }
    alone = {"connection": "close"}  # the server does not read the body, and may cut the line
    assert post("/ProductionCallee/run", json="hello", headers=alone).json()["code"] == 400
    sealed.stop()


# ---- replays on purpose


@pytest.mark.anyio
@pytest.mark.parametrize(("steps", "sleeps"), [(0, 0), (1, 0), (3, 0), (0, 2), (2, 2)])
async def test_a_timeout_of_zero_replays_after_each_step_and_each_wait(
    serve: Serve, agent: ModuleType, steps: int, sleeps: int
) -> None:
    begun: list[str] = []
    service = restate.Service("ProductionReplays", inactivity_timeout=timedelta(0))

    @service.handler("run")
    async def run(ctx: restate.Context) -> None:
        begun.append("handler")

        async def step() -> None:
            begun.append("step")

        for _ in range(steps):
            await ctx.run_typed("step", step)
        for _ in range(sleeps):
            await ctx.sleep(timedelta(milliseconds=20))

    serve(service)
    await tour.call(run)
    assert begun.count("handler") == 1 + steps + sleeps
    assert begun.count("step") == steps


# ---- elsewhere


ON_LAMBDA = """
import base64, json, restate
from tour.export import load

handler = restate.app([load("10").parcels])
reply = handler({
    "httpMethod": "GET",
    "path": "/discover",
    "headers": {"accept": "application/vnd.restate.endpointmanifest.v3+json"},
    "isBase64Encoded": True,
    "body": "",
}, None)
manifest = json.loads(base64.b64decode(reply["body"]))
names = [service["name"] for service in manifest["services"]]
print(reply["statusCode"], manifest["protocolMode"], *names)
"""


def test_on_lambda_the_app_is_a_lambda_handler(agent: ModuleType) -> None:
    """Called here, with an event as Restate sends it: nobody ran it on Lambda."""
    said = output(ON_LAMBDA, AWS_LAMBDA_FUNCTION_NAME="parcels")
    assert said == "200 REQUEST_RESPONSE ParcelDesk\n"


# ---- the exercises, and what a learner may write

REQUEST = {"prompt": "Where is parcel 4711?"}
TOKEN_IN_ARGUMENT = """
@vault.handler("run")
async def vault_run(ctx: restate.Context, question: Question) -> str:
    return await ctx.run_typed("Find parcel", find_with, token=read_token(), number=4711)
"""
DISGUISED = """
import base64

def disguised() -> str:
    return base64.b64encode(read_token().encode()).decode()

@vault.handler("run")
async def vault_run(ctx: restate.Context, question: Question) -> str:
    token = await ctx.run_typed("Read token", disguised)
    return await ctx.run_typed("Find parcel", find_with, token=token, number=4711)
"""
TOLD_TO_THE_CALLER = """
@vault.handler("run")
async def vault_run(ctx: restate.Context, question: Question) -> str:
    return await ctx.run_typed("Find parcel", find_with, token="", number=4711) + read_token()
"""
NO_STEP = """
@vault.handler("run")
async def vault_run(ctx: restate.Context, question: Question) -> str:
    return await find_with(read_token(), 4711)
"""


async def verdict_on(agent: ModuleType, number: str, source: str, serve: Serve) -> Any:
    space = namespace(agent, source)
    service, handler = ("vault", "vault_run") if number == "10.1" else ("pickup", "pickup_run")
    serve(space[service])
    await tour.call(space[handler], REQUEST)
    return tour.check(number)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (TOKEN_IN_ARGUMENT, "Solved. "),
        (DISGUISED, "One step is enough"),
        (TOLD_TO_THE_CALLER, "The token is in the journal"),
        (NO_STEP, "One step is enough"),
    ],
)
async def test_exercise_1_reads_the_journal(
    agent: ModuleType, serve: Serve, handler: str, said: str
) -> None:
    given = solution("10.1").partition("# stub:")[0]
    assert said in repr(await verdict_on(agent, "10.1", given + handler, serve))


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("ctx.uuid().hex[:8]", "'12345678'", "Solved. "),
        ("ctx.uuid().hex[:8]", "'1'", "a code of its own"),
        ("ctx.uuid().hex[:8]", "os.urandom(4).hex()", "is not the one that the customer was told"),
        ('"told": code', '"told": booked', "Solved. "),
        ("inactivity_timeout=timedelta(0)", "", "Nothing was replayed"),
        ('"Book pickup", book_pickup, code=code', '"Book", book_pickup, code=code', "Book pickup"),
        ('{"booked": booked, "told": code}', "{'told': code}", "Return what was booked"),
    ],
)
async def test_exercise_2_wants_one_code_over_a_replay(
    agent: ModuleType, serve: Serve, old: str, new: str, said: str
) -> None:
    verdict = await verdict_on(agent, "10.2", solution("10.2", (old, new)), serve)
    assert said in repr(verdict)


def test_the_notebook_leaves_no_cluster_behind() -> None:
    sources = [cell.source for cell in code_cells(read(NOTEBOOK))]
    ups = [n for n, s in enumerate(sources) if re.search(r"--nodes 3|cluster\.up\(\)", s)]
    [down] = [n for n, source in enumerate(sources) if "cluster.down()" in source]
    assert len(ups) == 2
    assert max(ups) < down
