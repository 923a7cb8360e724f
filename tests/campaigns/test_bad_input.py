"""The campaign of bad input in its short form, and that it finds what it looks for."""

from pathlib import Path
from typing import Any

import pytest
import restate
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request as Received
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

import tour
from tests.campaigns import bad_input_agents, bad_input_model
from tests.campaigns.bad_requests import Request
from tests.campaigns.findings import Row, table
from tests.helpers.exercise_source import NOTEBOOKS
from tour import server
from tour.asgi import AsgiServer, LoopThread

CASES, SEED = 6, 1
NUMBERS = [path.name[:2] for path in NOTEBOOKS]
EVERYTHING = "/{path:path}"


@pytest.fixture(autouse=True, scope="module")
def _ready() -> None:
    tour.start()
    tour.offline.reset()


@pytest.mark.slow
@pytest.mark.parametrize("number", NUMBERS)
def test_every_handler_takes_bad_input_well(number: str) -> None:
    services = bad_input_agents.services_of(number)
    rows = bad_input_agents.fuzz(services, CASES, SEED)
    private = [
        service.ingress_private or handler.ingress_private
        for service in services
        for handler in service.handlers.values()
    ]
    assert len(rows) == private.count(None) + private.count(False) > 0
    assert not any(row.findings for row in rows), table(rows)
    for row in rows:
        assert row.cases > CASES
        assert row.cases > row.counts["4xx"], f"nothing gets as far as to {row.name}"


def test_the_stand_in_takes_bad_input_well() -> None:
    rows = bad_input_model.fuzz(tour.offline.url, CASES, SEED)
    assert len(rows) == 3
    assert not any(row.findings for row in rows), table(rows)
    assert all(row.counts["2xx"] and row.counts["4xx"] for row in rows[:2])


class Words(BaseModel):
    words: str = "hello"


def test_what_has_a_key_gets_its_requests_and_may_wait() -> None:
    thing = restate.VirtualObject("BadInputThing")
    flow = restate.Workflow("BadInputFlow")

    @thing.handler()
    async def add(ctx: restate.ObjectContext, words: Words | None) -> int:
        said = (await ctx.get("said", type_hint=int) or 0) + bool(words)
        ctx.set("said", said)
        return said

    @flow.main()
    async def run(ctx: restate.WorkflowContext, words: Words | None) -> str:
        return await ctx.promise("answer", type_hint=str).value()

    rows = bad_input_agents.fuzz([thing, flow], 10, SEED)
    assert [row.name for row in rows] == ["BadInputThing/{key}/add", "BadInputFlow/{key}/run"]
    assert not any(row.findings for row in rows), table(rows)
    assert [bool(row.counts["2xx"]) for row in rows] == [True, False]
    assert [bool(row.counts["waits"]) for row in rows] == [False, True]
    assert not server.query("select id from sys_invocation where status != 'completed'")


# ---- what it finds


@pytest.fixture(scope="module")
def found() -> dict[str, Row]:
    """What the campaign says of handlers each of which does one thing that none may do."""
    service = restate.Service("BadInputFragile")
    twice = restate.RunOptions[int](max_attempts=2)

    @service.handler()
    async def retries(ctx: restate.Context, number: int) -> int:
        return number + 1

    @service.handler()
    async def gives_up(ctx: restate.Context, text: str) -> int:
        return await ctx.run_typed("read", lambda: int(str(text)[:0]), twice)

    @service.handler()
    async def lies(ctx: restate.Context, anything: dict[str, Any] | None) -> int:
        return "three"  # type: ignore[return-value]

    @service.handler()
    async def asks_another(ctx: restate.Context, anything: dict[str, Any] | None) -> int:
        return await ctx.service_call(retries, "no number")  # type: ignore[arg-type]

    rows = bad_input_agents.fuzz([service], 2, SEED)
    return {row.name.partition("/")[2]: row for row in rows}


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        ("retries", "left backing-off at BadInputFragile: "),
        ("gives_up", "failed after retries: 500 "),
        ("lies", "not what the document says: "),
        ("asks_another", "left backing-off at BadInputFragile: "),
    ],
)
def test_it_finds(found: dict[str, Row], handler: str, said: str) -> None:
    row = found[handler]
    assert any(each.startswith(said) for each in row.findings), table([row])
    assert f"curl -i --path-as-is -g -X POST {row.base}/restate/send/BadInputFragile" in table(
        [row]
    )


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (
            500,
            '{"error": {"message": "m", "type": "t", "param": null, "code": null}}',
            "a failure of",
        ),
        (404, "Not Found", "not OpenAI's words"),
        (404, '{"error": {"message": "m", "type": "t"}}', "not OpenAI's words"),
        (200, "{}", "no reply in OpenAI's form"),
    ],
)
def test_it_finds_what_no_model_may_answer(status: int, body: str, said: str) -> None:
    async def answer(request: Received) -> Response:
        await request.body()  # else the server closes the connection
        return PlainTextResponse(body, status)

    methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
    app = Starlette(routes=[Route(EVERYTHING, answer, methods=methods)])
    model = AsgiServer(app, LoopThread("model"))
    try:
        rows = bad_input_model.fuzz(f"http://127.0.0.1:{model.port}/v1", 2, SEED)
    finally:
        model.stop()
    assert all(each.startswith(said) for row in rows for each in row.findings), table(rows)
    assert rows[0].findings


def test_a_request_is_written_as_a_command(tmp_path: Path) -> None:
    base = "http://127.0.0.1:1"
    assert Request("POST", "/a", {"content-type": "x"}, b"it's").curl(base) == (
        "curl -i --path-as-is -g -X POST http://127.0.0.1:1/a -H 'content-type: x' "
        "--data-binary 'it'\"'\"'s'"
    )
    assert Request("POST", "/%00", {}, b"\x00\xff").curl(base) == (
        "printf '%b' '\\0000\\0377' | curl -i --path-as-is -g -X POST http://127.0.0.1:1/%00 "
        "-H content-type: --data-binary @-"
    )
    *_, file = Request("POST", "/", {}, b"7" * 5_000).curl(base).rpartition("@")
    assert Path(file).read_bytes() == b"7" * 5_000
    Path(file).unlink()


def test_the_same_seed_gives_the_same_requests() -> None:
    def requests(seed: int) -> list[Request]:
        return list(bad_input_model._requests(2, seed)[bad_input_model.CHAT])

    assert requests(SEED) == requests(SEED)
    assert requests(SEED) != requests(SEED + 1)
