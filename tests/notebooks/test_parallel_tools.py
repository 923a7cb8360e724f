"""The agents of notebook 5, as others see them, and what they do when it goes wrong."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest
import restate
from restate import InvocationRetryPolicy

import tour
from tests.helpers.agents import (
    agents_of,
    failure_of,
    namespace,
    says,
    services_of,
    tool_call,
    unfinished,
)
from tests.helpers.documented import CLAIM
from tests.helpers.exercise_source import code_cells, numbered, read, solution, stub
from tests.helpers.outside import post
from tests.helpers.serving import Serve
from tour import server
from tour.journal import Journal, Step

NOTEBOOK = numbered("05")
CITIES = {"message": "What is the weather in San Francisco and New York?"}
CHECKS = ["eligibility", "cost", "fraud"]
ANALYSES = ["Analyze sentiment", "Extract key points", "Summarize"]
AGENTS: dict[str, dict[str, Any]] = {
    "ParallelToolClaimAgent/run": CLAIM,
    "ParallelToolAgent/run": CITIES,
    "ParallelAgentsService/analyze_text": {"message": "We love it. It was late once."},
    "ParallelAgentClaimApproval/run": CLAIM,
    "EligibilityCheckAgent/run": CLAIM,
    "RateComparisonAgent/run": CLAIM,
    "FraudCheckAgent/run": CLAIM,
}
MS = timedelta(milliseconds=1)


agent = agents_of("05")


def overlap(steps: list[Step]) -> bool:
    """Tell whether all of them had begun before the first of them was over."""
    return max(step.started for step in steps) < min(step.ended for step in steps if step.ended)


def named(journal: Journal, prefix: str) -> list[Step]:
    return [step for step in journal.entries if step.name.startswith(prefix)]


# ---- over HTTP


def test_the_snippets_make_the_documented_services(agent: ModuleType) -> None:
    services = [value for value in vars(agent).values() if isinstance(value, restate.Service)]
    handlers = {f"{service.name}/{name}" for service in services for name in service.handlers}
    assert handlers == set(AGENTS)


@pytest.mark.parametrize(
    ("target", "answer"),
    [
        (
            "ParallelToolClaimAgent/run",
            "Approved. calculate metrics: eligibility eligible, cost reasonable, fraud low risk.",
        ),
        (
            "ParallelToolAgent/run",
            "San Francisco: 23 °C, sunny. New York: 23 °C, sunny.",
        ),
        (
            "ParallelAgentsService/analyze_text",
            {
                "sentiment": "neutral",
                "key_points": "- We love it.\n- It was late once.",
                "summary": "We love it.",
            },
        ),
        ("ParallelAgentClaimApproval/run", "Approved."),
    ],
)
def test_the_documented_calls(agent: ModuleType, target: str, answer: Any) -> None:
    reply = post(target, AGENTS[target])
    assert (reply.status_code, reply.json()) == (200, answer)


def test_the_other_path_to_the_same_agent(agent: ModuleType) -> None:
    reply = post("restate/call/ParallelToolAgent/run", CITIES)
    assert reply.json() == "San Francisco: 23 °C, sunny. New York: 23 °C, sunny."


def test_the_playground_knows_the_defaults(agent: ModuleType) -> None:
    for target, sent in AGENTS.items():
        schema = server.request("GET", f"/services/{target.split('/')[0]}/openapi").text
        assert all(f'"{field}"' in schema for field in sent)
        default = agent.Text().message if "analyze" in target else [*sent.values()][2 % len(sent)]
        assert json.dumps({"default": default}, separators=(",", ":"))[1:-1] in schema


def test_a_field_may_have_either_name(agent: ModuleType) -> None:
    snake = {key: value for key, value in CLAIM.items() if key != "placeOfService"}
    snake["place_of_service"] = "Garage"
    claim = agent.InsuranceClaim.model_validate(snake)
    assert claim == agent.InsuranceClaim.model_validate(CLAIM | {"placeOfService": "Garage"})
    assert json.loads(claim.model_dump_json()) == CLAIM | {"placeOfService": "Garage"}
    assert post("ParallelToolClaimAgent/run", snake).status_code == 200


BAD: dict[str, dict[str, Any]] = {
    "not JSON": {"content": b"hello", "headers": {"content-type": "application/json"}},
    "a list": {"json": []},
    "an unknown field": {"json": {"city": "Oslo"}},
    "wrong types": {"json": {"amount": "much", "message": 7}},
}


@pytest.mark.parametrize("target", [*AGENTS][:5])
def test_a_bad_body_is_refused_at_once(agent: ModuleType, target: str) -> None:
    for sent in BAD.values():
        reply = post(target, timeout=10, **sent)
        assert reply.is_error
        assert reply.json()["message"]
    empty = post(target, timeout=10)
    assert (empty.status_code, "an empty request" in empty.text) == (400, True)
    assert unfinished(*services_of(agent)) == []
    assert tour.offline.calls == 0


# ---- the claim agent, whose tool fans out


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("changed", "answer"),
    [
        ({"amount": 900}, "Approved. {} eligible, cost reasonable, fraud low risk."),
        ({"amount": 1000.01}, "Approved. {} eligible, cost reasonable, fraud low risk."),
        ({"amount": 5001}, "Rejected. {} eligible, cost not reasonable, fraud low risk."),
        ({"amount": 30000}, "Rejected. {} eligible, cost not reasonable, fraud high risk."),
        (
            {"category": "car", "reason": "a dent", "placeOfService": "Garage"},
            "Rejected. {} not eligible, cost reasonable, fraud low risk.",
        ),
    ],
)
async def test_other_claims(agent: ModuleType, changed: dict[str, Any], answer: str) -> None:
    run = await tour.call(agent.run_claim_agent, CLAIM | changed)
    assert run.result == answer.format("calculate metrics: eligibility")
    assert run.journal.steps == ["LLM call", *CHECKS, "LLM call"]
    assert run.journal.attempts("LLM call") == [1, 1]
    assert [run.journal.attempts(check) for check in CHECKS] == [[1]] * 3
    assert overlap(list(run.journal.entries[1:4]))


def test_what_the_claim_agent_asks_the_model(agent: ModuleType) -> None:
    post("ParallelToolClaimAgent/run", CLAIM)
    first, second = tour.offline.requests
    assert first["parallel_tool_calls"] is False
    [tool] = [tool["function"] for tool in first["tools"]]
    assert (tool["name"], tool["description"]) == ("calculate_metrics", "Calculate claim metrics.")
    assert tool["parameters"]["required"] == list(CLAIM)
    question = first["messages"][-1]["content"]
    start, end = "Analyze the claim ", ". Use your tools to calculate key metrics and decide"
    assert json.loads(question.removeprefix(start).partition(end)[0]) == CLAIM
    assert question.endswith(" whether to approve.")
    metrics = json.loads(second["messages"][-1]["content"])
    assert list(metrics) == CHECKS


@pytest.mark.anyio
@pytest.mark.parametrize(
    "arguments",
    ["{", "[]", "null", "{}", '{"amount": 3000}', json.dumps(CLAIM | {"amount": "much"})],
)
async def test_a_claim_that_the_model_makes_up_is_terminal(
    agent: ModuleType, monkeypatch: pytest.MonkeyPatch, arguments: str
) -> None:
    says(agent, monkeypatch, tool_call("calculate_metrics", arguments=arguments), ever=True)
    run = await tour.send(agent.run_claim_agent, CLAIM)
    await failure_of(run, r"the model's tool call (makes no|lacks)")
    assert run.journal.attempts("LLM call") == [1]


@pytest.mark.anyio
async def test_a_fourth_check_is_a_line_more(agent: ModuleType, serve: Serve) -> None:
    """What the notebook invites its reader to do."""
    cell = next(c.source for c in code_cells(read(NOTEBOOK), "snippet") if "checks = {" in c.source)
    line = '        "fraud": ctx.run_typed("fraud", check_fraud, claim=claim),\n'
    assert line in cell
    before = vars(agent)["calculate_metrics"]
    exec(cell.replace(line, line + line.replace("fraud", "second look", 2)), vars(agent))
    try:
        run = await tour.call(agent.run_claim_agent, CLAIM)
    finally:
        vars(agent)["calculate_metrics"] = before
    assert run.journal.steps == ["LLM call", *CHECKS, "second look", "LLM call"]
    assert overlap(list(run.journal.entries[1:5]))
    assert "second look low risk" in run.result


# ---- the weather agent, whose model calls several tools at once


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("message", "cities"),
    [
        ("Do I need an umbrella in Bergen?", ["Bergen"]),
        ("weather for Trondheim and Tromsø please", ["Trondheim", "Tromsø"]),
        ("Compare the weather in Lagos, Accra and Nairobi", ["Lagos", "Accra", "Nairobi"]),
        (
            "What is the weather like in Buenos Aires, Oslo, Rome, Lima and Quito?",
            ["Buenos Aires", "Oslo", "Rome", "Lima", "Quito"],
        ),
    ],
)
async def test_other_cities(agent: ModuleType, message: str, cities: list[str]) -> None:
    run = await tour.call(agent.run_weather_agent, {"message": message})
    assert run.result == " ".join(f"{city}: 23 °C, sunny." for city in cities)
    steps = [f"Get weather {city}" for city in cities]
    assert run.journal.steps == ["LLM call", *steps, "LLM call"]
    assert [run.journal.attempts(step) for step in steps] == [[1]] * len(cities)
    assert run.llm_calls == 2
    assert overlap(named(run.journal, "Get weather"))
    assert [request["parallel_tool_calls"] for request in tour.offline.requests] == [True, True]
    told = [m for m in tour.offline.requests[-1]["messages"] if m["role"] == "tool"]
    asked = tour.offline.requests[-1]["messages"][2]["tool_calls"]
    assert [m["tool_call_id"] for m in told] == [call["id"] for call in asked]
    assert [m["content"].partition(":")[0] for m in told] == cities


@pytest.mark.anyio
async def test_the_model_reads_of_a_city_that_fails_for_good(
    agent: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fetch(city: str) -> str:
        if city == "Atlantis":
            raise restate.TerminalError("no such city", 404)
        return f"{city}: rain"

    monkeypatch.setattr(agent, "fetch_weather", fetch)
    run = await tour.call(
        agent.run_weather_agent, {"message": "Weather in Oslo, Atlantis and Rome?"}
    )
    told = [m["content"] for m in tour.offline.requests[-1]["messages"] if m["role"] == "tool"]
    assert told == ["Oslo: rain", "error: no such city", "Rome: rain"]
    assert "no such city" in run.result
    assert run.journal.attempts("Get weather Atlantis") == [1]


@pytest.mark.anyio
@pytest.mark.parametrize("arguments", ["{", "[]", '{"town": "Oslo"}', "null"])
async def test_one_tool_call_of_two_that_makes_no_sense_is_terminal(
    agent: ModuleType, monkeypatch: pytest.MonkeyPatch, arguments: str
) -> None:
    calls = [
        {"id": str(n), "function": {"name": "get_weather", "arguments": each}}
        for n, each in enumerate(['{"city": "Oslo"}', arguments])
    ]

    async def babbles(messages: list[dict[str, Any]], **_: Any) -> dict[str, Any]:
        return {"role": "assistant", "tool_calls": calls}

    monkeypatch.setattr(agent, "ask_model", babbles)
    run = await tour.send(agent.run_weather_agent, {})
    await failure_of(run, "makes no sense")
    assert run.journal.steps == ["LLM call"]


@pytest.mark.anyio
async def test_the_loops_end_after_ten_rounds(
    agent: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def always_wants_a_tool(messages: list[Any], **options: Any) -> dict[str, Any]:
        name = options["tools"][0]["function"]["name"]
        arguments = json.dumps(CLAIM if name == "calculate_metrics" else {"city": "Oslo"})
        return tool_call(name, arguments=arguments)

    async def at_once(**_: Any) -> str:
        return "fine"

    for name in ("check_eligibility", "compare_to_standard_rates", "check_fraud", "fetch_weather"):
        monkeypatch.setattr(agent, name, at_once)
    monkeypatch.setattr(agent, "ask_model", always_wants_a_tool)
    for handler, arg in ((agent.run_claim_agent, CLAIM), (agent.run_weather_agent, CITIES)):
        run = await tour.send(handler, arg)
        await failure_of(run, "no answer after ten rounds")
        assert len(named(run.journal, "LLM call")) == 10


@pytest.mark.anyio
async def test_twenty_fan_outs_survive_a_crash_in_the_middle(
    agent: ModuleType, monkeypatch: pytest.MonkeyPatch, serve: Serve
) -> None:
    """All results are there, what was finished is not repeated, and no replay goes astray."""
    slow = 30.0

    async def fetch(city: str) -> str:
        await asyncio.sleep(0 if city == "Oslo" else slow)
        return f"{city}: 23 °C, sunny"

    monkeypatch.setattr(agent, "fetch_weather", fetch)
    crashing = restate.Service("CrashedFanOutAgent")
    crashing.handler("run")(agent.run_weather_agent.__wrapped__)
    handler: Any = crashing.handlers["run"].fn
    endpoint = serve(crashing)
    question = {"message": "Weather in Oslo, Lima and Quito?"}
    runs = [await tour.send(handler, question) for _ in range(20)]
    for run in runs:
        await run.until("Get weather Quito")
        oslo = None
        while not oslo:
            await asyncio.sleep(0.02)
            oslo = run.journal.entries[1].ended
    endpoint.crash()
    slow = 0
    serve(crashing)
    for run in runs:
        assert await run.result() == " ".join(
            f"{city}: 23 °C, sunny." for city in ("Oslo", "Lima", "Quito")
        )
        journal = run.journal
        assert journal.attempts("LLM call") == [1, 1]
        assert journal.attempts("Get weather Oslo") == [1]
        assert journal.attempts("Get weather Lima") == journal.attempts("Get weather Quito") == [2]
        assert journal.errors == ()


# ---- three analyses


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("message", "sentiment", "points"),
    [
        ("The app is slow. Support was terrible. I want my money back.", "negative", 3),
        ("A great year! We are happy with the team.", "positive", 2),
        ("The meeting is on Tuesday", "neutral", 1),
        ("", "", 0),
    ],
)
async def test_other_texts(agent: ModuleType, message: str, sentiment: str, points: int) -> None:
    tour.offline.latency = 0.1
    run = await tour.call(agent.analyze_text, {"message": message})
    assert list(run.result) == ["sentiment", "key_points", "summary"]
    if message:
        assert run.result["sentiment"] == sentiment
        assert run.result["key_points"].count("- ") == points
        assert message.startswith(run.result["summary"])
    assert run.journal.steps == ANALYSES
    assert [run.journal.attempts(name) for name in ANALYSES] == [[1]] * 3
    assert overlap(list(run.journal.entries))
    assert run.llm_calls == 3


@pytest.mark.anyio
async def test_an_analysis_that_fails_for_good_leaves_the_others_alone(agent: ModuleType) -> None:
    tour.offline.fail(times=1, status=401)
    run = await tour.call(agent.analyze_text, {})
    assert [answer.startswith("error: ") for answer in run.result.values()].count(True) == 1
    assert [run.journal.attempts(name) for name in ANALYSES] == [[1]] * 3
    assert run.llm_calls == 3


# ---- three agents and a decision


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("changed", "eligible", "decision"),
    [
        ({"category": "dental", "reason": "a broken tooth", "amount": 450}, True, "Approved."),
        ({"amount": 999.99}, True, "Approved."),
        (
            {"category": "car", "reason": "a dent", "placeOfService": "Garage", "amount": 1001},
            False,
            "Rejected: an analysis speaks against it.",
        ),
        (
            {"category": "phone", "reason": "a cracked screen", "placeOfService": "Shop"},
            False,
            "Rejected: an analysis speaks against it.",
        ),
    ],
)
async def test_other_claims_for_the_agents(
    agent: ModuleType, changed: dict[str, Any], eligible: bool, decision: str
) -> None:
    tour.offline.latency = 0.1
    run = await tour.call(agent.run_claim_approval, CLAIM | changed)
    assert run.result == decision
    journal = run.journal
    *calls, _ = journal.entries
    assert [call.name for call in calls] == [
        "EligibilityCheckAgent/run",
        "RateComparisonAgent/run",
        "FraudCheckAgent/run",
    ]
    assert overlap(calls)
    assert [call.child.attempts("LLM call") for call in calls if call.child] == [[1]] * 3
    assert run.journal.attempts("Decide") == [1]
    assert run.llm_calls == 4
    system, user = tour.offline.requests[-1]["messages"]
    assert system["content"] == "You are a claim decision engine."
    answer = "eligible" if eligible else "not eligible"
    assert f"Eligibility: {answer}. Cost: reasonable. Fraud: low risk." in user["content"]
    assert json.dumps(CLAIM["date"]) in user["content"]


@pytest.mark.anyio
async def test_without_all_three_there_is_no_decision(agent: ModuleType) -> None:
    tour.offline.fail(times=1, status=401)
    run = await tour.send(agent.run_claim_approval, CLAIM)
    failure = await failure_of(run)
    assert failure.status == 401
    assert "Decide" not in run.journal.steps
    assert run.llm_calls == 3


@pytest.mark.anyio
async def test_who_waits_is_suspended_and_who_decides_is_not_cut_off(agent: ModuleType) -> None:
    """It lets go after 150 ms of waiting, but a step of its own may take longer than that."""
    tour.offline.latency = 0.6
    run = await tour.send(agent.run_claim_approval, CLAIM)
    await run.until("suspended")
    assert [step.child.ended for step in run.journal.entries if step.child] == [None] * 3
    assert await run.result() == "Approved."
    assert run.journal.attempts("Decide") == [1]
    assert run.llm_calls == 4


# ---- asyncio.gather and restate.gather

SLOW_FIRST = ["Llanfairpwllgwyngyll", "Lima"]


async def _ask(city: str) -> str:
    await asyncio.sleep(len(city) / 100)
    return city


async def _natively(ctx: restate.Context) -> list[str]:
    async def twice(city: str) -> str:
        await ctx.run_typed(f"Ask {city}", _ask, city=city)
        return await ctx.run_typed(f"Ask {city} again", _ask, city=city)

    return list(await asyncio.gather(*map(twice, SLOW_FIRST)))


async def _in_waves(ctx: restate.Context) -> list[str]:
    first = [ctx.run_typed(f"Ask {city}", _ask, city=city) for city in SLOW_FIRST]
    await restate.gather(*first)
    again = [ctx.run_typed(f"Ask {city} again", _ask, city=city) for city in SLOW_FIRST]
    await restate.gather(*again)
    return [await each for each in again]


def _stumbling(name: str, fan_out: Callable[[restate.Context], Awaitable[list[str]]]) -> Any:
    """Make an agent that fans out and then fails once, so that it is replayed."""
    hold = InvocationRetryPolicy(initial_interval=20 * MS, max_attempts=3, on_max_attempts="pause")
    # Sometimes asyncio.gather misses a result and hangs, until it is suspended for being idle.
    service = restate.Service(name, inactivity_timeout=400 * MS, invocation_retry_policy=hold)
    stumbled: set[str] = set()

    @service.handler("run")
    async def run(ctx: restate.Context) -> list[str]:
        found = await fan_out(ctx)
        if ctx.request().id not in stumbled:
            stumbled.add(ctx.request().id)
            raise ConnectionError("a hiccup")
        return found

    return service, run


@pytest.mark.anyio
async def test_asyncio_gather_fails_on_replay_twenty_times_of_twenty(serve: Serve) -> None:
    service, handler = _stumbling("NativeTwentyAgent", _natively)
    serve(service)
    runs = [await tour.send(handler) for _ in range(20)]
    for run in runs:
        await run.until("paused")
        journal = run.journal
        assert journal.steps[2:] == ["Ask Lima again", "Ask Llanfairpwllgwyngyll again"]
        _, error = journal.errors[-1]
        assert "name: Ask Lima again != Ask Llanfairpwllgwyngyll again" in error
        assert "handler failed: Found a mismatch" in repr(journal)
        await run.kill()
    ids = ", ".join(f"'{run.id}'" for run in runs)
    events = f"select id from sys_journal_events where id in ({ids}) and event_type = 'Paused'"
    assert len(server.query(f"{events} and event_json like '%RT0016%'")) == 20


@pytest.mark.anyio
async def test_restate_gather_replays_twenty_times_of_twenty(serve: Serve) -> None:
    service, handler = _stumbling("WavesTwentyAgent", _in_waves)
    serve(service)
    runs = [await tour.send(handler) for _ in range(20)]
    for run in runs:
        assert await run.result() == SLOW_FIRST
        journal = run.journal
        assert [error for _, error in journal.errors] == ["ConnectionError('a hiccup')"]
        assert all(journal.attempts(step) == [1] for step in journal.steps)


@pytest.mark.anyio
async def test_what_is_paused_says_its_last_failure(serve: Serve) -> None:
    """The failure that pauses it is no event of its own."""
    hold = InvocationRetryPolicy(initial_interval=20 * MS, max_attempts=2, on_max_attempts="pause")
    service = restate.Service("TwoReasonsAgent", invocation_retry_policy=hold)
    reasons = iter(["the first reason", "the last reason"])

    @service.handler("run")
    async def run(ctx: restate.Context) -> None:
        raise ConnectionError(next(reasons))

    serve(service)
    sent = await tour.send(run)
    with pytest.raises(tour.TourError, match=r"is paused: .*the last reason"):
        await sent.result()
    await sent.kill()


@pytest.mark.anyio
async def test_a_wait_for_paused_ends_when_it_is_paused_between_two_looks(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, handler = _stumbling("PausedMeanwhileAgent", _natively)
    serve(service)
    run = await tour.send(handler)
    await run.until("paused")
    paused = run.journal
    looks = iter([replace(paused, status="running"), paused])
    monkeypatch.setattr("tour.invocation.invocation.read", lambda _: next(looks))
    monkeypatch.setattr("tour.invocation.Patience.interval", 0)
    await run.until("paused")
    await run.kill()


# ---- the exercises


def _served(agent: ModuleType, serve: Serve, source: str, *changes: tuple[str, str]) -> Any:
    """Serve what a learner has made of an exercise, and return its namespace."""
    for old, new in changes:
        assert old in source
        source = source.replace(old, new)
    names = namespace(agent, source)
    serve(names["trip" if "TripAgent" in source else "digest"])
    return names


def _judged(number: str, verdict: str) -> None:
    said = repr(tour.check(number))
    assert said.startswith("Solved. " if verdict == "Solved" else "Not yet. ")
    assert verdict in said


TRIP, DIGEST = map(solution, ("05.1", "05.2"))
START = 'reports = [ctx.run_typed(f"Get weather {c}", fetch_weather, city=c) for c in STOPS]'
WAIT = "await restate.gather(*reports)"
RESULT = "return [await report for report in reports]"
CALL = "ctx.service_call(digest_one, order)"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ([], "Solved"),
        ([(WAIT, "pass")], "Solved"),  # the awaits of the last line wait as well
        (
            [
                (WAIT, "pass"),
                (RESULT, "return [await r async for r in restate.as_completed(*reports)]"),
            ],
            "order",
        ),
        ([(RESULT, "return [await report for report in reversed(reports)]")], "order"),
        ([(RESULT, "return '; '.join([await report for report in reports])")], "a list"),
        ([(RESULT, "return [await reports[0]]")], "a list of three"),
        ([("for c in STOPS]", "for c in STOPS[1:]]")], "each of the three"),
        (
            [
                (START, "first = ctx.run_typed('Get weather Oslo', fetch_weather, city='Oslo')"),
                (WAIT, "await first"),
                (RESULT, f"{START.replace('STOPS', '[*STOPS[:1], *STOPS[2:]]')}\n    {RESULT}"),
            ],
            "did not overlap",
        ),
    ],
)
async def test_exercise_1_is_judged_by_what_happened(
    agent: ModuleType,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    changes: list[tuple[str, str]],
    verdict: str,
) -> None:
    async def fetch(city: str) -> str:
        await asyncio.sleep({"San Francisco": 0.5, "Oslo": 0.1, "New York": 0.3}[city])
        return f"{city}: rain"

    if "as_completed" in str(changes):  # on a busy machine too, Oslo shall be first
        monkeypatch.setattr(agent, "fetch_weather", fetch)
    namespace = _served(agent, serve, TRIP, *changes)
    await tour.call(namespace["trip_run"])
    _judged("05.1", verdict)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ([], "Solved"),
        (
            [
                (f"[{CALL} for", f"[await {CALL} for"),
                *[("*answers", "*[]"), ("await answer for", "answer for")],
            ],
            "same time",
        ),
        ([(CALL, "ctx.run_typed(order, ask_about, THREE_TRIES, order=order)")], "paid again"),
        (
            [
                (CALL, "ctx.run_typed(order, ask_about, THREE_TRIES, order=order)"),
                ("for order in ORDERS]", "for order in ORDERS[1:2]]"),
            ],
            "call of its own",
        ),
        ([("* 2)", "* 0)")], "Nothing failed"),
        ([("return [await answer for answer in answers]", "return []")], "three answers"),
    ],
)
async def test_exercise_2_is_judged_by_what_was_paid(
    agent: ModuleType, serve: Serve, changes: list[tuple[str, str]], verdict: str
) -> None:
    namespace = _served(agent, serve, DIGEST, *changes)
    await tour.call(namespace["digest_run"])
    _judged("05.2", verdict)


@pytest.mark.anyio
async def test_who_gives_up_at_the_first_failure_has_not_solved_it(
    agent: ModuleType, serve: Serve
) -> None:
    namespace = _served(agent, serve, DIGEST, ("tries(3)", "tries(1)"))
    run = await tour.send(namespace["digest_run"])
    await failure_of(run)
    assert not tour.check("05.2")


@pytest.mark.anyio
async def test_the_stub_of_exercise_2_pays_three_times(agent: ModuleType, serve: Serve) -> None:
    namespace = _served(agent, serve, stub(DIGEST))
    run = await tour.call(namespace["digest_run"])
    assert run.llm_calls == 3 + 1 + 3
