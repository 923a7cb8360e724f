"""The agents of notebook 6: errors sorted, counted and handled; bookings taken back."""

import asyncio
import itertools
from collections.abc import Iterator
from datetime import timedelta
from types import ModuleType
from typing import Any

import openai
import pytest
import restate

import tour
from tests.helpers.agents import agents_of, failure_of, namespace, services_of, unfinished
from tests.helpers.exercise_source import solution
from tests.helpers.outside import post
from tests.helpers.serving import Serve
from tour import server
from tour.endpoint import thread
from tour.invocation import Patience

pytestmark = pytest.mark.anyio

MS = timedelta(milliseconds=1)
NOT_ALLOWED = "This tool is not allowed to run for this input."
NO_FLIGHTS = "Flight booking failed: no flights to SFO available."
TO_LISBON = "Book a business trip to Lisbon: a hotel, a car and a flight."
TO_SFO = "Book a business trip to San Francisco: a hotel, a car and a flight."
QUICK = restate.InvocationRetryPolicy(
    initial_interval=10 * MS, max_attempts=3, on_max_attempts="pause"
)

notebook = agents_of("06")


@pytest.fixture
def agent(notebook: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The agents as they are in the notebook, whatever the test before did to their tools."""
    kept = dict(vars(notebook))
    yield notebook
    vars(notebook).update(kept)


@pytest.fixture
def clients() -> Iterator[list[openai.AsyncOpenAI]]:
    """Clients that a test has made: closed after it, where they were used."""
    made: list[openai.AsyncOpenAI] = []
    yield made
    for client in made:
        thread().submit(client.close()).result(10)


# ---- over HTTP


async def test_the_documented_calls(agent: ModuleType) -> None:
    answer = f"Oslo: 23 °C, sunny. Pripyat: this could not be done ({NOT_ALLOWED.rstrip('.')})."
    asked = {"prompt": "What is the weather like in Oslo and Pripyat?", "on_tool_error": "tell"}
    for path in ("ErrorHandlingAgent/run", "restate/call/ErrorHandlingAgent/run"):
        reply = post(path, json=asked)
        assert (reply.status_code, reply.json()) == (200, answer)
    wanted = {"booking_id": "booking_123", "message": TO_LISBON}
    reply = post("BookingWithRollbackAgent/book", json=wanted)
    assert reply.status_code == 200
    assert (
        reply.json() == "Hotel booked for Lisbon. Car booked for Lisbon. Flight booked for Lisbon."
    )
    for path, given in (("ErrorHandlingAgent", asked), ("BookingWithRollbackAgent", wanted)):
        schema = server.request("GET", f"/services/{path}/openapi").text
        assert all(f'"default":"{value}"' in schema for value in given.values())


async def test_a_terminal_error_as_the_caller_sees_it(agent: ModuleType) -> None:
    """Status, message and metadata of the tool, and one try."""
    asked = {"prompt": "Weather in Pripyat?", "on_tool_error": "fail"}
    reply = post("ErrorHandlingAgent/run", json=asked)
    assert reply.status_code == 403
    assert reply.json() == {
        "code": 403,
        "message": NOT_ALLOWED,
        "metadata": {"city": "Pripyat", "rule": "closed area"},
        "source": "invocation",
    }
    assert tour.latest(agent.run).journal.attempts("get weather") == [1]


BAD: dict[str, tuple[int, dict[str, Any]]] = {
    "empty": (400, {}),
    "null": (500, {"content": b"null", "headers": {"content-type": "application/json"}}),
    "not JSON": (500, {"content": b"Oslo?", "headers": {"content-type": "application/json"}}),
    "a number": (500, {"json": 7}),
    "a list": (500, {"json": [{}]}),
    "a wrong type": (500, {"json": {"prompt": 7, "message": 7, "booking_id": 7}}),
    "an unknown field": (500, {"json": {"city": "Oslo"}}),
    "an unknown choice": (500, {"json": {"on_tool_error": "panic"}}),
}


@pytest.mark.parametrize("path", ["ErrorHandlingAgent/run", "BookingWithRollbackAgent/book"])
@pytest.mark.parametrize(("status", "body"), BAD.values(), ids=BAD)
async def test_bad_input_is_refused_at_once(
    agent: ModuleType, path: str, status: int, body: dict[str, Any]
) -> None:
    reply = post(path, **body)
    assert reply.json()["code"] == reply.status_code
    assert reply.status_code in {status, 400}
    assert unfinished(*services_of(agent)) == []
    assert tour.offline.calls == 0


# ---- one error, three answers


@pytest.mark.parametrize(
    ("prompt", "told", "stopped", "tried"),
    [
        (
            "Do I need a coat in Chernobyl today?",
            "Chernobyl: this could not be done",
            "I stopped",
            1,
        ),
        ("weather for Trondheim, please", "Trondheim: 23 °C, sunny.", "Trondheim: 23 °C", 1),
        (
            "Is it warm in Lagos, Quito and Pripyat?",
            "Quito: 23 °C, sunny. Pripyat: this",
            "Lagos",
            3,
        ),
        ("Compare Pripyat and Hanoi", "Hanoi: 23 °C, sunny.", "I stopped there", 2),
    ],
)
async def test_questions_that_are_not_in_the_notebook(
    agent: ModuleType, prompt: str, told: str, stopped: str, tried: int
) -> None:
    closed = any(city in prompt for city in agent.CLOSED)
    run = await tour.call(agent.run, {"prompt": prompt})
    assert told in run.result
    assert run.journal.steps == ["LLM call", "get weather"] * tried + ["LLM call"]
    assert run.journal.attempts("get weather") == [1] * tried
    run = await tour.call(agent.run, {"prompt": prompt, "on_tool_error": "stop"})
    assert run.result.startswith(stopped)
    assert (NOT_ALLOWED in run.result) is closed
    assert run.llm_calls == len(run.journal.steps) - run.journal.steps.count("get weather")
    if closed:
        sent = await tour.send(agent.run, {"prompt": prompt, "on_tool_error": "fail"})
        assert (await failure_of(sent)).status == 403
        assert sent.journal.steps[-1] == "get weather"


async def test_metadata_crosses_a_call(agent: ModuleType, serve: Serve) -> None:
    desk = restate.Service("ErrorsDesk")

    @desk.handler("ask")
    async def ask(ctx: restate.Context, city: str) -> dict[str, Any]:
        request = agent.WeatherPrompt(prompt=f"Weather in {city}?", on_tool_error="fail")
        try:
            return {"answer": await ctx.service_call(agent.run, request)}
        except restate.TerminalError as error:
            return {"status": error.status_code, "message": error.message} | (error.metadata or {})

    serve(desk)
    assert (await tour.call(ask, "Chernobyl")).result == {
        "status": 403,
        "message": NOT_ALLOWED,
        "city": "Chernobyl",
        "rule": "closed area",
    }
    assert (await tour.call(ask, "Hanoi")).result == {"answer": "Hanoi: 23 °C, sunny."}


async def test_a_tool_that_fails_for_a_while_is_tried_three_times(agent: ModuleType) -> None:
    calls = itertools.count(1)

    async def twice_down(city: str) -> str:
        if next(calls) <= 2:
            raise ConnectionError("the weather service hung up")
        return f"{city}: fog."

    async def down(city: str) -> str:
        raise ConnectionError("the weather service hung up")

    asked = {"prompt": "Weather in Hanoi?"}
    agent.fetch_weather = twice_down  # type: ignore[attr-defined]
    assert (await tour.call(agent.run, asked)).result == "Hanoi: fog."
    assert tour.latest(agent.run).journal.attempts("get weather") == [3]
    agent.fetch_weather = down  # type: ignore[attr-defined]
    run = await tour.call(agent.run, asked)
    assert "this could not be done (ConnectionError('the weather service hung up'))" in run.result
    assert run.journal.attempts("get weather") == [3]


@pytest.mark.parametrize("arguments", ["{", "[]", '{"town": "Oslo"}', "null"])
async def test_a_tool_call_that_makes_no_sense_is_told_or_fails(
    agent: ModuleType, arguments: str
) -> None:
    call = {"id": "1", "function": {"name": "get_weather", "arguments": arguments}}

    async def babbles(messages: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
        if messages[-1]["role"] == "tool":
            return {"role": "assistant", "content": messages[-1]["content"]}
        return {"role": "assistant", "tool_calls": [call]}

    agent.ask_model = babbles  # type: ignore[attr-defined]
    assert (await tour.call(agent.run, {})).result.startswith("error: the tool call makes no sense")
    sent = await tour.send(agent.run, {"on_tool_error": "fail"})
    assert (await failure_of(sent)).status == 422
    assert sent.journal.attempts("LLM call") == [1]


async def test_a_model_that_never_stops_asking_is_stopped(agent: ModuleType) -> None:
    async def always(messages: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
        arguments = '{"city": "Oslo", "destination": "Oslo"}'
        call = {"id": "1", "function": {"name": "hotel", "arguments": arguments}}
        return {"role": "assistant", "tool_calls": [call]}

    agent.ask_model = always  # type: ignore[attr-defined]
    sent = await tour.send(agent.run, {})
    assert "no answer after five rounds" in str(await failure_of(sent))
    assert sent.journal.steps == ["LLM call", "get weather"] * 5
    sent = await tour.send(agent.book, {})
    assert "no complete booking after ten rounds" in str(await failure_of(sent))
    assert sent.journal.steps == ["LLM call", "Book hotel"] * 10 + ["Cancel hotel"] * 10


# ---- the bill


@pytest.mark.parametrize(
    ("status", "tries", "reported"),
    [(400, 1, 400), (401, 1, 401), (404, 1, 404), (422, 1, 422), (429, 3, 500), (503, 3, 500)],
)
async def test_how_the_models_errors_end(
    agent: ModuleType, status: int, tries: int, reported: int
) -> None:
    tour.offline.fail(times=9, status=status, retry_after=0.02)
    sent = await tour.send(agent.run, {})
    assert (await failure_of(sent)).status == reported
    assert sent.journal.attempts("LLM call") == [tries]
    assert tour.offline.calls == sent.llm_calls == tries


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_retries_multiply(
    agent: ModuleType, clients: list[openai.AsyncOpenAI], status: int
) -> None:
    """Two retries by the client make three requests of each of Restate's three tries: nine."""
    clients.append(openai.AsyncOpenAI(max_retries=2))
    agent.client = clients[0]  # type: ignore[attr-defined]
    tour.offline.fail(times=20, status=status, retry_after=0.01)
    sent = await tour.send(agent.run, {})
    await failure_of(sent)
    assert sent.journal.attempts("LLM call") == [3]
    assert sent.llm_calls == tour.offline.calls == 9


async def test_a_4xx_that_nobody_sorts_is_tried_again(agent: ModuleType, serve: Serve) -> None:
    """Restate does not look into an exception: a 401 is paid three times unless it is terminal."""
    unsorted = restate.Service("ErrorsUnsorted")
    options = restate.RunOptions[str | None](max_attempts=3, initial_retry_interval=10 * MS)

    async def ask() -> str | None:
        messages: Any = [{"role": "user", "content": "Hello?"}]
        completion = await agent.client.chat.completions.create(model="any", messages=messages)
        return str(completion.choices[0].message.content)

    @unsorted.handler("run")
    async def run(ctx: restate.Context) -> str | None:
        return await ctx.run_typed("LLM call", ask, options)

    serve(unsorted)
    tour.offline.fail(times=9, status=401)
    assert (await failure_of(await tour.send(run))).status == 500
    assert tour.offline.calls == 3


async def test_a_fallback_ends_the_invocation_as_a_success(agent: ModuleType, serve: Serve) -> None:
    canned = restate.Service("ErrorsCanned")

    @canned.handler("run")
    async def run(ctx: restate.Context) -> str:
        messages = [{"role": "user", "content": "Hello?"}]
        try:
            reply = await ctx.run_typed(
                "LLM call", agent.ask_model, agent.THREE_TRIES, messages=messages
            )
        except restate.TerminalError as error:
            return f"Ask again later ({error.status_code})."
        return str(reply["content"])

    serve(canned)
    tour.offline.fail(times=3, status=500)
    run_of_it = await tour.call(run)
    assert run_of_it.result == "Ask again later (500)."
    assert run_of_it.journal.state == "completed"
    assert run_of_it.journal.attempts("LLM call") == [3]


# ---- policies


async def test_the_waits_of_a_step_grow(serve: Serve) -> None:
    """50 ms, doubled each time: what a step waits that only says how often it may be tried."""
    service = restate.Service("ErrorsWaits")

    async def fail() -> None:
        raise ConnectionError

    @service.handler("run")
    async def run(ctx: restate.Context) -> None:
        await ctx.run_typed("knock", fail, restate.RunOptions(max_attempts=4))

    serve(service)
    sent = await tour.send(run)
    await failure_of(sent)
    tries = sent.journal.entries[0].attempts
    assert tries
    waits = [(after.started - before.started) for before, after in itertools.pairwise(tries)]
    assert all(
        wait >= bound for wait, bound in zip(waits, (50 * MS, 100 * MS, 200 * MS), strict=True)
    )


async def test_max_retry_duration_is_ignored(serve: Serve) -> None:
    """Restate's guide names it. Once this fails the SDK heeds it, and notebook 6 is out of date."""
    service = restate.Service("ErrorsDuration", invocation_retry_policy=QUICK)

    async def fail() -> None:
        raise ConnectionError

    @service.handler("run")
    async def run(ctx: restate.Context, field: str) -> None:
        options: Any = {field: 1 * MS, "initial_retry_interval": 20 * MS}
        await ctx.run_typed("knock", fail, restate.RunOptions(**options))

    serve(service)
    bounded = await tour.send(run, "max_duration")
    await failure_of(bounded)
    assert bounded.journal.attempts("knock")[0] <= 2
    endless = await tour.send(run, "max_retry_duration")
    await endless.until("knock", tries=5)
    assert await endless.status() != "completed"
    await endless.kill()


async def test_a_wait_for_paused_is_not_an_error(serve: Serve) -> None:
    """It may get there between two looks."""
    service = restate.Service("ErrorsPaused", invocation_retry_policy=QUICK)

    @service.handler("run")
    async def run(ctx: restate.Context) -> None:
        raise ValueError("no luck")

    serve(service)
    sent = await tour.send(run)
    await sent.until("paused")
    for wanted in ("paused", "a step"):
        patience = Patience(sent.id, sent.target, 30, until=wanted)
        patience.interval = 0
        if wanted == "paused":
            await patience.check()
        else:
            with pytest.raises(tour.TourError, match="is paused: ValueError"):
                await patience.check()
    await sent.kill()


async def test_a_step_that_outlives_the_abort_timeout_is_run_again_and_again(serve: Serve) -> None:
    """RT0001. What was cut off goes on to its end all the same: the effect is doubled."""
    service = restate.Service(
        "ErrorsHasty",
        inactivity_timeout=30 * MS,
        abort_timeout=30 * MS,
        invocation_retry_policy=QUICK,
    )
    charged = []

    async def charge_card() -> None:
        await asyncio.sleep(0.4)
        charged.append("9.99")

    @service.handler("run")
    async def run(ctx: restate.Context) -> None:
        await ctx.run_typed("charge card", charge_card)

    serve(service)
    sent = await tour.send(run)
    await sent.until("paused")
    assert sent.journal.attempts("charge card") == [3]
    assert sent.journal.entries[0].ended is None
    [reason] = server.query(
        f"select event_json from sys_journal_events where id = '{sent.id}' "
        f"and event_type = 'Paused'"
    )
    assert "RT0001" in reason["event_json"]
    while len(charged) < 3:  # the test's own timeout ends this
        await asyncio.sleep(0.02)
    await sent.kill()


# ---- cancel and kill


async def test_finally_runs_at_every_suspension(serve: Serve) -> None:
    service = restate.Service("ErrorsTidy", inactivity_timeout=50 * MS)
    seen = []

    @service.handler("run")
    async def run(ctx: restate.Context) -> str:
        try:
            await ctx.sleep(300 * MS)
        except BaseException as error:
            seen.append(type(error).__name__)
            raise
        finally:
            seen.append("finally")
        return "done"

    serve(service)
    assert (await tour.call(run)).result == "done"
    assert seen == ["SuspendedException", "finally", "finally"]


async def test_except_exception_lets_a_suspension_pass_and_swallows_a_cancellation(
    serve: Serve,
) -> None:
    service = restate.Service("ErrorsDeaf", inactivity_timeout=50 * MS)
    seen = []

    @service.handler("run")
    async def run(ctx: restate.Context) -> str:
        try:
            await ctx.sleep(timedelta(minutes=10))
        except Exception as error:  # what is shown is what this catches
            seen.append(repr(error))
        return "I go on"

    serve(service)
    sent = await tour.send(run)
    await sent.until("suspended")
    assert seen == []
    await sent.cancel()
    assert await sent.result() == "I go on"
    assert seen == ["TerminalError('cancelled')"]


@pytest.mark.parametrize("on_tool_error", ["tell", "fail", "stop"])
async def test_the_agent_can_be_cancelled_in_its_tool(
    agent: ModuleType, on_tool_error: str
) -> None:
    async def slow(city: str) -> str:
        await asyncio.sleep(20)
        return city

    agent.fetch_weather = slow  # type: ignore[attr-defined]
    sent = await tour.send(agent.run, {"on_tool_error": on_tool_error})
    await sent.until("get weather")
    await sent.cancel()
    failure = await failure_of(sent)
    assert (failure.status, failure.message) == (409, "cancelled")
    assert sent.journal.steps == ["LLM call", "get weather"]


# ---- bookings


@pytest.mark.parametrize(
    ("message", "booked"),
    [
        ("Find me a flight to Oslo in May", {"flight": "Oslo"}),
        ("I'd like a rental car and a hotel in Quito", {"hotel": "Quito", "car": "Quito"}),
        (
            "Hotel and flight to São Paulo for 2 people",
            {"hotel": "São Paulo", "flight": "São Paulo"},
        ),
        (
            "Please get us to Nairobi by air: flight, hotel",
            {"hotel": "Nairobi", "flight": "Nairobi"},
        ),
    ],
)
async def test_trips_that_are_not_in_the_notebook(
    agent: ModuleType, message: str, booked: dict[str, str]
) -> None:
    run = await tour.call(agent.book, {"booking_id": "b/1 ü", "message": message})
    said = [f"{kind.capitalize()} booked for {where}." for kind, where in booked.items()]
    assert run.result == " ".join(said)
    assert run.journal.steps == [
        *itertools.chain.from_iterable(("LLM call", f"Book {kind}") for kind in booked),
        "LLM call",
    ]


@pytest.mark.parametrize(
    ("message", "undone"),
    [
        (TO_SFO, ["flight", "car", "hotel"]),
        ("A flight to SFO and a hotel, please", ["flight", "hotel"]),
        ("Just a flight to San Francisco", ["flight"]),
    ],
)
async def test_what_was_booked_is_undone_in_reverse(
    agent: ModuleType, message: str, undone: list[str]
) -> None:
    sent = await tour.send(agent.book, {"message": message})
    failure = await failure_of(sent)
    assert (failure.status, failure.message) == (422, NO_FLIGHTS)
    steps = [step for step in sent.journal.steps if step != "LLM call"]
    assert steps == [f"Book {kind}" for kind in reversed(undone)] + [f"Cancel {k}" for k in undone]
    assert all(sent.journal.attempts(f"Cancel {kind}") == [1] for kind in undone)


async def test_a_model_that_goes_down_undoes_what_it_had_booked(agent: ModuleType) -> None:
    booked = agent.reserve

    async def then_down(**trip: str) -> str:
        tour.offline.fail(times=3, status=500)
        return str(await booked(**trip))

    agent.reserve = then_down  # type: ignore[attr-defined]
    agent.PAUSE = timedelta(milliseconds=10)  # type: ignore[attr-defined]
    sent = await tour.send(agent.book, {})
    assert (await failure_of(sent)).status == 500
    asked = ["LLM call", "pause", "LLM call", "pause", "LLM call"]
    assert sent.journal.steps == ["LLM call", "Book hotel", *asked, "Cancel hotel"]
    assert sent.journal.attempts("LLM call") == [1, 1, 1, 1]


async def test_an_absence_uses_up_the_tries_of_a_step_and_not_those_of_ask(
    agent: ModuleType, serve: Serve
) -> None:
    """The server counts failed attempts, and a knock at a closed door is one."""
    quick = restate.InvocationRetryPolicy(
        initial_interval=timedelta(milliseconds=20), exponentiation_factor=1
    )
    agent.PAUSE = timedelta(milliseconds=10)  # type: ignore[attr-defined]
    moods: list[float | Exception] = []

    async def moody(**request: Any) -> dict[str, Any]:
        mood = moods.pop(0)
        if isinstance(mood, Exception):
            raise mood
        await asyncio.sleep(mood)
        return {"content": "sunny"}

    agent.ask_model = moody  # type: ignore[attr-defined]
    service = restate.Service("AbsenceAgent", invocation_retry_policy=quick)

    @service.handler("plain")
    async def plain(ctx: restate.Context) -> str:
        reply = await ctx.run_typed("LLM call", moody, agent.THREE_TRIES)
        return str(reply["content"])

    @service.handler("sturdy")
    async def sturdy(ctx: restate.Context) -> str:
        return str((await agent.ask(ctx))["content"])

    for handler, steps, fails in (
        (plain, ["LLM call"], True),
        (sturdy, ["LLM call", "pause", "LLM call"], False),
    ):
        moods[:] = [60, ConnectionError("a hiccup"), 0]
        endpoint = serve(service)
        sent = await tour.send(handler)
        await sent.until("LLM call")
        endpoint.crash()
        knocks = f"select retry_count from sys_invocation where id = '{sent.id}'"
        while server.query(knocks)[0].get("retry_count", 0) < 5:
            await asyncio.sleep(0.02)
        serve(service)
        await sent.until("completed")
        assert (sent.journal.steps, sent.journal.failure is not None) == (steps, fails)
        assert sent.journal.attempts("LLM call")[0] == 2


async def test_an_undo_is_tried_until_it_works(agent: ModuleType) -> None:
    """The booking that fails is tried three times, and undone although nobody knows of it."""
    refusals = iter([ConnectionError("the hotel does not answer")])

    async def unreachable(**trip: str) -> str:
        raise ConnectionError("the hotel does not answer")

    async def refused_once(**trip: str) -> str:
        for refusal in refusals:
            raise refusal
        return "cancelled"

    agent.reserve, agent.cancel = unreachable, refused_once  # type: ignore[attr-defined]
    sent = await tour.send(agent.book, {})
    await failure_of(sent)
    assert sent.journal.attempts("Book hotel") == [3]
    assert sent.journal.attempts("Cancel hotel") == [2]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ({"name": "train", "arguments": '{"destination": "Oslo"}'}, "Tool not found: train"),
        ({"name": "hotel", "arguments": "{"}, "makes no sense"),
    ],
)
async def test_a_booking_that_makes_no_sense_undoes_the_rest(
    agent: ModuleType, call: dict[str, str], says: str
) -> None:
    hotel = {"name": "hotel", "arguments": '{"destination": "Oslo"}'}

    async def babbles(messages: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
        wanted = hotel if len(messages) == 2 else call
        return {"role": "assistant", "tool_calls": [{"id": "1", "function": wanted}]}

    agent.ask_model = babbles  # type: ignore[attr-defined]
    sent = await tour.send(agent.book, {})
    failure = await failure_of(sent)
    assert failure.status == 422
    assert says in failure.message
    assert sent.journal.steps[-1] == "Cancel hotel"
    assert sent.journal.steps.count("Cancel hotel") == 1


@pytest.mark.parametrize(
    ("how", "undone"), [("cancel", ["Cancel car", "Cancel hotel"]), ("kill", [])]
)
async def test_cancel_and_kill_reach_the_agents_that_were_called(
    agent: ModuleType, serve: Serve, how: str, undone: list[str]
) -> None:
    """The called agent undoes what it booked when cancelled, and leaves it when killed."""
    office = restate.Service("ErrorsOffice")

    @office.handler("run")
    async def run(ctx: restate.Context, message: str) -> str:
        return str(await ctx.service_call(agent.book, agent.BookingPrompt(message=message)))

    async def slow_at_cars(**trip: str) -> str:
        await asyncio.sleep(20 if trip["kind"] == "car" else 0)
        return trip["kind"]

    serve(office)
    agent.reserve = slow_at_cars  # type: ignore[attr-defined]
    sent = await tour.send(run, TO_LISBON)
    await sent.until("BookingWithRollbackAgent/book")
    child = tour.latest(agent.book)
    await child.until("Book car")
    await (sent.cancel() if how == "cancel" else sent.kill())
    assert (await failure_of(sent)).status == (await failure_of(child)).status == 409
    assert child.journal.steps == ["LLM call", "Book hotel", "LLM call", "Book car", *undone]


async def test_a_second_cancellation_stops_the_undo(agent: ModuleType) -> None:
    """The notebook says so: cancel once, and wait."""

    async def slow(**trip: str) -> str:
        await asyncio.sleep(20 if trip["kind"] == "car" else 0)
        return "cancelled"

    agent.cancel = slow  # type: ignore[attr-defined]
    sent = await tour.send(agent.book, {"message": TO_SFO})
    await sent.until("Cancel car")
    await sent.cancel()
    assert (await failure_of(sent)).status == 409
    assert sent.journal.steps[-2:] == ["Cancel flight", "Cancel car"]


# ---- exercises

ONE_STEP = "            await ctx.run_typed(f\"Cancel {trip['kind']}\", cancel, **trip)\n"
WRONG: dict[str, tuple[str, str, str, str]] = {
    "fewer tries in Restate": ("06.1", "max_retries=0", "max_retries=1", "two layers retry"),
    "only the client retries": (
        "06.1",
        "max_attempts=3",
        "max_attempts=1",
        "asked 1 times, not 3",
    ),
    "five tries in Restate": ("06.1", "max_attempts=3", "max_attempts=5", "asked 5 times, not 3"),
    "an error for the user": ("06.1", 'return "The model does not', 'raise  # "', "failed: "),
    "nothing for the user": ("06.1", 'return "The model does not', 'return ""  # "', "nothing"),
    "in the order of booking": ("06.2", "reversed(undo)", "undo", "newest first"),
    "outside of the journal": ("06.2", ONE_STEP, "            await cancel(**trip)\n", "in a step"),
    "the failed one forgotten": (
        "06.2",
        "in reversed(undo)",
        "in reversed(undo[:-1])",
        "no step 'Cancel flight'",
    ),
    "undone twice": ("06.2", "in reversed(undo)", "in [*reversed(undo)] * 2", "undone once"),
    "all in one step": (
        "06.2",
        ONE_STEP,
        ONE_STEP.replace("Cancel {trip['kind']}", "Cancel all"),
        "no step 'Cancel hotel'",
    ),
    "a failure for the caller": ("06.2", 'return f"Nothing', 'raise  # "', "failed: "),
}


async def attempt(
    agent: ModuleType, serve: Serve, clients: list[openai.AsyncOpenAI], number: str, source: str
) -> Any:
    """Run what a learner wrote as its notebook would, and return the verdict on it."""
    learner = namespace(agent, source)
    if number == "06.1":
        clients.append(learner["chatty_client"])
        serve(learner["chatty"])
        tour.offline.fail(times=12, status=500, retry_after=0.01)
        sent = await tour.send(learner["chatty_run"], agent.WeatherPrompt())
    else:
        serve(learner["trips"])
        sent = await tour.send(learner["trip_run"], agent.BookingPrompt())
    await sent.until("completed")
    return tour.check(number)


@pytest.mark.parametrize("mistake", WRONG)
async def test_a_wrong_solution_is_told_what_is_missing(
    agent: ModuleType, serve: Serve, clients: list[openai.AsyncOpenAI], mistake: str
) -> None:
    number, right, wrong, says = WRONG[mistake]
    source = solution(number, (right, wrong))
    verdict = await attempt(agent, serve, clients, number, source)
    assert not verdict
    assert says in verdict.message


@pytest.mark.parametrize(
    "change",
    [
        ("06.1", "AsyncOpenAI(max_retries=0)", "AsyncOpenAI().with_options(max_retries=0)"),
        ("06.1", "Please ask again in a few minutes.", "Sorry."),
        ("06.2", "reversed(undo)", "undo[::-1]"),
        ("06.2", "undo.append(trip)\n            await", "undo += [trip]\n            await"),
    ],
)
async def test_another_right_solution_is_right(
    agent: ModuleType, serve: Serve, clients: list[openai.AsyncOpenAI], change: tuple[str, str, str]
) -> None:
    number, ours, theirs = change
    source = solution(number, (ours, theirs))
    verdict = await attempt(agent, serve, clients, number, source)
    assert verdict, verdict


async def test_a_model_that_answers_is_no_proof(
    agent: ModuleType, serve: Serve, clients: list[openai.AsyncOpenAI]
) -> None:
    learner = namespace(agent, solution("06.1"))
    clients.append(learner["chatty_client"])
    serve(learner["chatty"])
    await tour.call(learner["chatty_run"], agent.WeatherPrompt())
    assert "The model answered" in tour.check("06.1").message
