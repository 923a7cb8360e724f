"""Notebook 8: progress, interruptions, words on the way, timers, a cron and a budget."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest

import tour
from tests.helpers.agents import (
    agents_of,
    crash,
    namespace,
    serve_again,
    serve_if_down,
    services_of,
    unfinished,
)
from tests.helpers.exercise_source import solution, stub
from tests.helpers.outside import attach, output_of, post
from tour import server
from tour.exercises import Verdict

JSON = {"content-type": "application/json"}
DONE = "done: "

original = agents_of("08")


class Hold:
    """The stage in which the model does not answer."""

    stage = "nothing"


def held(ask: Any) -> Any:
    """Let a model think for as long as `Hold.stage` is what the last message begins with."""

    async def ask_when_let(messages: Any, **options: Any) -> Any:
        while messages[-1]["content"].startswith(Hold.stage):
            await asyncio.sleep(0.01)
        return await ask(messages, **options)

    return ask_when_let


@pytest.fixture
def agent(original: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """All agents, served; what a test has changed in them is mended after it."""
    monkeypatch.setattr(original, "ask_model", held(original.ask_model))
    serve_if_down(original)
    yield original
    Hold.stage = "nothing"


@pytest.fixture
def key() -> str:
    return uuid4().hex


def tell(key: str, content: str) -> None:
    assert post(f"CodingAgent/{key}/message", {"content": content}).status_code == 200


def pull(key: str, offset: int) -> dict[str, Any]:
    """Return what is there from an offset on, waiting until there is something."""
    page: dict[str, Any] = post(f"Progress/{key}/pull", {"offset": offset}).json()
    return page


def follow(key: str, offset: int = 0) -> list[str]:
    """Return all events up to the end of a task."""
    events: list[str] = []
    while not any(event.startswith(DONE) for event in events):
        events += pull(key, offset + len(events))["events"]
    return events


def history(key: str) -> list[tuple[str, str]]:
    said = post(f"CodingAgent/{key}/get_history").json()
    return [(each["role"], each["content"]) for each in said]


def runs(run: Any) -> list[str]:
    return [step.name for step in run.journal.entries if step.kind == "run"]


def state(service: str, key: str) -> dict[str, Any]:
    rows = server.query(
        f"select key, value_utf8 from state "
        f"where service_name = '{service}' and service_key = '{key}'"
    )
    return {row["key"]: json.loads(row["value_utf8"]) for row in rows}


# ---- progress


def test_a_late_reader_gets_all_and_one_who_comes_back_the_rest(
    agent: ModuleType, key: str
) -> None:
    for number in range(5):
        assert post(f"Progress/{key}/publish", {"text": f"event {number}"}).status_code == 200
    assert pull(key, 0) == {"events": [f"event {n}" for n in range(5)], "next": 5}
    assert pull(key, 3) == {"events": ["event 3", "event 4"], "next": 5}


@pytest.mark.anyio
async def test_all_who_wait_are_told_and_each_once(agent: ModuleType, key: str) -> None:
    readers = [await tour.send(agent.pull, {"offset": 0}, key=key) for _ in range(5)]
    ahead = await tour.send(agent.pull, {"offset": 99}, key=key)
    for reader in (*readers, ahead):
        await reader.until("suspended")
    post(f"Progress/{key}/publish", {"text": "now"})
    for reader in (*readers, ahead):
        assert (await reader.result()).model_dump() == {"events": ["now"], "next": 1}
    assert "waiting" not in state("Progress", key)


def test_a_stream_keeps_its_last_events_and_the_gap_can_be_told(
    agent: ModuleType, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "KEPT", 3)
    for number in range(5):
        post(f"Progress/{key}/publish", {"text": str(number)})
    assert pull(key, 0) == {"events": ["2", "3", "4"], "next": 5}
    assert pull(key, 4) == {"events": ["4"], "next": 5}
    assert len(state("Progress", key)["events"]) == 3


@pytest.mark.anyio
async def test_a_reader_who_waits_in_vain_is_sent_away(
    agent: ModuleType, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hurried:
        def __call__(self, seconds: float = 0, milliseconds: float = 0) -> Any:
            return real(seconds=min(seconds, 0.3))

    real = agent.timedelta
    monkeypatch.setattr(agent, "timedelta", Hurried())
    page = (await tour.call(agent.pull, {"offset": 7}, key=key)).result
    assert page.model_dump() == {"events": [], "next": 7}


@pytest.mark.anyio
async def test_a_slow_stream_does_not_hold_up_the_agent(agent: ModuleType, key: str) -> None:
    """The stream's object is taken; the task goes on, and its events arrive afterwards."""
    rest = tour.serve(agent.coder, agent.coding)  # the stream is served by nobody that answers
    crash(agent)
    tell(key, "Build a lamp.")
    task = tour.latest(agent.run_task)
    assert await task.result() == "Build a lamp."
    rest.stop()
    serve_again(agent)
    assert follow(key) == ["Plan", "Write", "Check", "done: Build a lamp."]


@pytest.mark.anyio
@pytest.mark.parametrize("stage", ["Plan", "Write", "Check"])
async def test_a_crash_doubles_no_event(agent: ModuleType, key: str, stage: str) -> None:
    Hold.stage = stage
    tell(key, "Build a boat. A small one.")
    pull(key, ["Plan", "Write", "Check"].index(stage))
    task = tour.latest(agent.run_task)
    await task.until(stage)
    crash(agent)
    Hold.stage = "nothing"
    serve_again(agent)
    assert follow(key) == ["Plan", "Write", "Check", "done: Build a boat."]
    assert {name: task.journal.attempts(name) for name in agent.STAGES} == {
        name: [2 if name == stage else 1] for name in agent.STAGES
    }


# ---- interruptions


@pytest.mark.parametrize(
    ("order", "answer"),
    [
        ("Build me a small todo CLI in Python.", "Build me a small todo CLI in Python."),
        ("Schreib ein Spiel. Mit Karten.", "Schreib ein Spiel."),
        ("Fix bug #7: it crashes! Soon.", "Fix bug #7: it crashes!"),
    ],
)
def test_an_order_goes_through_all_stages(
    agent: ModuleType, key: str, order: str, answer: str
) -> None:
    tell(key, order)
    assert follow(key) == ["Plan", "Write", "Check", f"done: {answer}"]
    assert history(key) == [("user", order), ("assistant", answer)]
    task = tour.latest(agent.run_task)
    assert runs(task) == ["Plan", "Write", "Check"]
    assert task.llm_calls == 3
    assert "current_task_id" not in state("CodingAgent", key)
    sizes = [len(request["messages"]) for request in tour.offline.requests]
    assert sizes == [3, 5, 7]


@pytest.mark.anyio
@pytest.mark.parametrize("stage", ["Plan", "Write", "Check"])
async def test_an_interruption_stops_the_task_and_keeps_the_conversation(
    agent: ModuleType, key: str, stage: str
) -> None:
    Hold.stage = stage
    tell(key, "Build a chair.")
    stages = list(agent.STAGES)
    begun = stages[: stages.index(stage) + 1]
    pull(key, len(begun) - 1)
    wrong = tour.latest(agent.run_task)
    await wrong.until(stage)
    tell(key, "Build a table.")
    Hold.stage = "nothing"
    assert follow(key) == [*begun, "interrupted", *stages, "done: Build a table."]
    assert wrong.journal.failure == "[409] cancelled"
    assert runs(wrong) == begun
    assert history(key) == [
        ("user", "Build a chair."),
        ("user", "Build a table."),
        ("assistant", "Build a table."),
    ]


async def interrupted_often(agent: ModuleType, key: str, times: int) -> list[str]:
    """Give so many orders, each while the one before is being planned; return how they stand."""
    Hold.stage = "Plan"
    tasks = []
    for number in range(times):
        tell(key, f"Build number {number}.")
        pull(key, 2 * number)
        tasks.append(tour.latest(agent.run_task))
        await tasks[-1].until("Plan")
    found = [await task.status() for task in tasks]
    Hold.stage = "nothing"
    for task in tasks:
        await task.until("completed")
    return found


@pytest.mark.anyio
async def test_every_interruption_reaches_the_task_that_is_at_work(
    agent: ModuleType, key: str
) -> None:
    assert await interrupted_often(agent, key, 4) == [*["completed"] * 3, "running"]
    assert follow(key)[-1] == "done: Build number 3."
    assert [role for role, _ in history(key)] == ["user"] * 4 + ["assistant"]


@pytest.mark.anyio
async def test_as_documented_the_second_interruption_reaches_nobody(
    agent: ModuleType, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the comparison of ids, as in Restate's documentation: this would tell us of a fix."""
    monkeypatch.setattr(agent, "is_current", lambda report, current: True)
    assert await interrupted_often(agent, key, 3) == ["completed", "running", "running"]


@pytest.mark.anyio
async def test_an_answer_that_was_just_finished_is_kept(
    agent: ModuleType, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task is over, and its report on the way, when the next order comes."""
    tell(key, "Build a roof.")
    follow(key)
    first = tour.latest(agent.run_task)
    before = state("CodingAgent", key)
    change = {"messages": before["messages"][:1], "current_task_id": first.id}
    body = {name: list(json.dumps(value).encode()) for name, value in change.items()}
    edit = {"object_key": key, "new_state": body}  # as it was before the report
    server.request("POST", "/services/CodingAgent/state", json=edit)
    tell(key, "Build a door.")
    assert follow(key, 4)[-1] == "done: Build a door."
    assert history(key) == [
        ("user", "Build a roof."),
        ("assistant", "Build a roof."),
        ("user", "Build a door."),
        ("assistant", "Build a door."),
    ]


@pytest.mark.anyio
async def test_an_interruption_survives_the_death_of_the_agent(agent: ModuleType, key: str) -> None:
    Hold.stage = "Write"
    tell(key, "Build a wall.")
    pull(key, 1)
    task = tour.latest(agent.run_task)
    await task.until("Write")
    crash(agent)
    await task.until("backing-off")
    order = await tour.send(agent.message, {"content": "Build a gate."}, key=key)
    Hold.stage = "nothing"
    serve_again(agent)
    await order.result()
    assert follow(key)[-1] == "done: Build a gate."
    assert task.journal.failure in (None, "[409] cancelled"), "it may have finished first"


@pytest.mark.anyio
async def test_a_model_that_gives_up_ends_the_task_and_the_next_order_is_taken(
    agent: ModuleType, key: str
) -> None:
    tour.offline.fail(times=3, status=500)
    tell(key, "Build a bell.")
    [*begun, told] = follow(key)
    assert begun == ["Plan"]
    assert told.startswith("done: I could not finish: ")
    assert tour.latest(agent.run_task).journal.attempts("Plan") == [3]
    assert "current_task_id" not in state("CodingAgent", key)
    tell(key, "Build a horn.")
    assert follow(key, 2)[-1] == "done: Build a horn."


@pytest.mark.anyio
@pytest.mark.parametrize(("timeout", "state"), [("30m", "failed"), ("50ms", "completed")])
async def test_a_step_hears_of_its_cancellation_while_the_line_is_up(
    agent: ModuleType, key: str, timeout: str, state: str
) -> None:
    """Longer than the inactivity timeout a running step cannot be interrupted."""
    try:
        server.request("PATCH", "/services/CodingTask", json={"inactivity_timeout": timeout})
        Hold.stage = "Plan"
        tell(key, "Build a bench.")
        pull(key, 0)
        task = tour.latest(agent.run_task)
        await task.until("Plan")
        await asyncio.sleep(0.3)
    finally:
        server.request("PATCH", "/services/CodingTask", json={"inactivity_timeout": "30m"})
    await task.cancel()
    if state == "completed":
        await asyncio.sleep(0.3)
        assert await task.status() == "running"
        Hold.stage = "nothing"
    await task.until("completed")
    [plan] = [step for step in task.journal.entries if step.name == "Plan"]
    assert plan.state == state
    assert task.journal.failure == "[409] cancelled"


# ---- words on the way


@pytest.mark.anyio
@pytest.mark.parametrize("crashes", [False, True])
async def test_words_are_heard_between_two_stages_in_their_order(
    agent: ModuleType, key: str, crashes: bool
) -> None:
    Hold.stage = "Plan"
    tell(key, "Build a kite.")
    pull(key, 0)
    for word in ('Begin every answer with "First!"', 'End every answer with "Last."'):
        assert post(f"CodingAgent/{key}/steer", {"content": word}).json() is True
    if crashes:
        crash(agent)
        serve_again(agent)
    Hold.stage = "nothing"
    assert follow(key)[-1] == "done: First! Build a kite. Last."
    last = tour.offline.requests[-1]["messages"]
    words = [each["content"].split()[0] for each in last if each["role"] == "system"]
    assert words == ["You", "Begin", "End"]
    assert "Last." in str(tour.offline.requests[-2]), "both are heard after the same stage"
    assert tour.latest(agent.run_task).journal.attempts("Plan") == [2 if crashes else 1]


@pytest.mark.anyio
async def test_words_replay_at_the_point_where_they_were_heard(
    agent: ModuleType, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every wait is a replay here: a different order would be a journal mismatch (RT0016)."""
    server.request("PATCH", "/services/CodingTask", json={"inactivity_timeout": "0ms"})
    try:
        for number in range(5):
            Hold.stage = "Write"
            tell(key, f"Build kite {number}.")
            pull(key, 4 * number + 1)
            assert post(f"CodingAgent/{key}/steer", {"content": "Quicker."}).json() is True
            Hold.stage = "nothing"
            await tour.latest(agent.run_task).result()
            assert tour.latest(agent.run_task).journal.errors == ()
            assert follow(key, 4 * number)[-1] == f"done: Build kite {number}."
    finally:
        server.request("PATCH", "/services/CodingTask", json={"inactivity_timeout": "30m"})


def test_nobody_at_work_hears_nothing(agent: ModuleType, key: str) -> None:
    assert post(f"CodingAgent/{key}/steer", {"content": "Quicker."}).json() is False
    tell(key, "Build a flute.")
    assert follow(key)[-1] == "done: Build a flute."
    assert post(f"CodingAgent/{key}/steer", {"content": "Quicker."}).json() is False
    assert "Quicker" not in str(tour.offline.requests)


# ---- timers


@pytest.mark.anyio
async def test_a_sleep_and_an_appointment_survive_the_server(agent: ModuleType) -> None:
    asleep = await tour.send(agent.run_follow_up, {"message": "My tea is hot.", "seconds": 1})
    await asleep.until("suspended")
    sent = post("restate/send/FollowUpAgent/run?delay=1s", {"seconds": 0}).json()
    timer = f"select entry_lite_json from sys_journal where id = '{asleep.id}' and name = 'a week'"
    [before] = server.query(timer)
    pid = server.pid()
    assert pid
    os.kill(pid, signal.SIGKILL)
    assert await asleep.result() == 'You said: "My tea is hot."'
    assert [before] == server.query(timer)
    assert asleep.journal.attempts("LLM call") == [1, 1]
    wakes = json.loads(before["entry_lite_json"])["Command"]["Sleep"]["wake_up_time"]
    [sleep] = [step for step in asleep.journal.entries if step.kind == "sleep"]
    assert sleep.ended
    assert sleep.ended.timestamp() * 1000 > wakes - 50  # the server's clocks: a millisecond, seen
    assert (await attach(sent["invocationId"])).json() == 'You said: "My deadline is Friday."'


# ---- a cron


@pytest.fixture
def hasty(agent: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The agents, with crons that may tick as often as they like."""
    monkeypatch.setattr(agent, "SHORTEST", 0.0)
    return agent


def ticks(key: str) -> list[server.Row]:
    where = f"where target = 'CronJob/{key}/tick' order by created_at"
    return server.query(f"select id, status, completion_result from sys_invocation {where}")


def summaries(key: str) -> list[server.Row]:
    return server.query(
        f"select id, completion_failure from sys_invocation where target = 'MorningAgent/run' "
        f"and status = 'completed' and invoked_by_target = 'CronJob/{key}/tick' order by created_at"
    )


async def until_there_are(key: str, number: int) -> None:
    while len(summaries(key)) < number:
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("due", "every", "now", "following"),
    [
        (9, 24, 9, 33),
        (9, 24, 9.4, 33),
        (9, 24, 8.9, 33),  # a tick that came a moment too early
        (9, 24, 33, 33),
        (9, 24, 33.1, 57),
        (9, 24, 100, 105),
        (1e9, 0.1, 1e9 + 7.25, 1e9 + 7.3),
    ],
)
def test_a_cron_keeps_its_hours(
    agent: ModuleType, due: float, every: float, now: float, following: float
) -> None:
    assert agent.next_due(due, every, now) == pytest.approx(following, abs=1e-6)


@pytest.mark.anyio
async def test_a_cron_started_twice_ticks_once_and_outlives_failures_and_the_server(
    hasty: ModuleType, key: str
) -> None:
    tour.offline.fail(times=1, status=400)
    began = [post(f"CronJob/{key}/start", {"every": 0.2}).json() for _ in range(3)]
    assert began == [True, False, False]
    await until_there_are(key, 2)
    pid = server.pid()
    assert pid
    os.kill(pid, signal.SIGKILL)
    await until_there_are(key, 4)
    assert [post(f"CronJob/{key}/stop").json() for _ in range(2)] == [True, False]
    assert all(row["status"] == "completed" for row in ticks(key))
    failed = ["completion_failure" in row for row in summaries(key)]
    assert failed[0]
    assert not any(failed[1:])
    assert len(ticks(key)) >= len(failed), "no tick has started two"
    assert state("CronJob", key) == {}


@pytest.mark.anyio
async def test_a_cron_can_be_started_again_with_another_interval(
    hasty: ModuleType, key: str
) -> None:
    assert post(f"CronJob/{key}/start", {"every": 3600}).json() is True
    assert [row["status"] for row in ticks(key)] == ["scheduled"]
    assert post(f"CronJob/{key}/stop").json() is True
    assert [row for row in ticks(key) if row["status"] != "completed"] == []
    assert post(f"CronJob/{key}/start", {"every": 0.1, "prompt": "Summarise: A. B."}).json() is True
    await until_there_are(key, 1)
    assert post(f"CronJob/{key}/stop").json() is True
    assert output_of(summaries(key)[0]["id"]) == "A."


# ---- a budget


@pytest.fixture
def poor(agent: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The agents, with buckets of 500 tokens that do not refill while a test runs."""
    monkeypatch.setattr(agent, "CAPACITY", 500.0)
    monkeypatch.setattr(agent, "REFILL", 1 / 60)
    return agent


@pytest.mark.anyio
async def test_a_budget_is_shared_and_a_refusal_costs_nothing(poor: ModuleType, key: str) -> None:
    for prompt in ("Summarise: A. B.", "My name is Ada."):
        assert post("BudgetedAgent/run", {"team": key, "prompt": prompt}).status_code == 200
    reply = post("BudgetedAgent/run", {"team": key, "prompt": "What did I say?"})
    assert reply.status_code == 429
    assert "is spent: try again in" in reply.json()["message"]
    assert tour.offline.calls == 2
    before = state("TokenBucket", key)
    assert post(f"TokenBucket/{key}/spend", {"tokens": 400}).status_code == 429
    assert state("TokenBucket", key) == before
    assert post("BudgetedAgent/run", {"team": f"{key} 2"}).status_code == 200, "another team"


@pytest.mark.anyio
@pytest.mark.parametrize("at", ["LLM call", "wait for the budget"])
async def test_a_crash_does_not_buy_twice(
    poor: ModuleType, key: str, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poor, "REFILL", 300.0)
    bought = 600 if at == "wait for the budget" else 0
    assert post(f"TokenBucket/{key}/spend", {"tokens": bought}).status_code == 200
    Hold.stage = "Summarise"
    run = await tour.send(poor.run_budgeted, {"team": key, "prompt": "Summarise: A. B."})
    await run.until(at)
    crash(poor)
    Hold.stage = "nothing"
    serve_again(poor)
    assert await run.result() == "A."
    price = poor.price_of([{"role": "user", "content": "Summarise: A. B."}]).tokens
    assert state("TokenBucket", key)["spent"] == bought + price
    assert [step.kind for step in run.journal.entries].count("call") == 1
    if bought:
        assert run.journal.steps[1:] == ["wait for the budget", "LLM call"]


def test_a_bucket_refills_and_never_above_its_brim(
    poor: ModuleType, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poor, "REFILL", 1e6)
    assert post(f"TokenBucket/{key}/spend", {"tokens": 500}).json() == 0
    assert post(f"TokenBucket/{key}/spend", {"tokens": 500}).json() == 0
    assert state("TokenBucket", key)["level"] == 0
    monkeypatch.setattr(poor, "REFILL", 100.0)
    assert 0 < post(f"TokenBucket/{key}/spend", {"tokens": 600}).json() <= 6


# ---- bad input

BAD: dict[str, dict[str, Any]] = {
    "empty": {"content": b""},
    "not JSON": {"content": b"Hello", "headers": JSON},
    "null": {"content": b"null", "headers": JSON},
    "a string": {"json": "Hello"},
    "a list": {"json": [{"text": "Hello"}]},
    "an unknown field": {"json": {"user": "Ada"}},
}
WRONG_FIELDS: dict[str, list[dict[str, Any]]] = {
    "Progress/{}/publish": [{"text": 7}, {"text": None}],
    "Progress/{}/pull": [{"offset": -1}, {"offset": "all"}],
    "CodingAgent/{}/message": [{"content": 7}, {"message": "Hello"}],
    "CodingAgent/{}/steer": [{"content": None}],
    "FollowUpAgent/run": [{"seconds": -1}, {"seconds": "1 week"}, {"seconds": 1e12}],
    "MorningAgent/run": [{"prompt": {}}],
    "CronJob/{}/start": [{"every": 0}, {"every": 59.9}, {"every": None}],
    "TokenBucket/{}/spend": [{"tokens": -100}, {"tokens": "all"}],
    "BudgetedAgent/run": [{"team": ""}, {"team": "a" * 101}, {"prompt": 7}],
}
PRIVATE = ["Progress/{}/wait", "CodingAgent/{}/append_message", "CodingTask/run_task"]


@pytest.mark.parametrize("path", WRONG_FIELDS)
def test_bad_input_is_refused_at_once(agent: ModuleType, key: str, path: str) -> None:
    for body in (*BAD.values(), *({"json": each} for each in WRONG_FIELDS[path])):
        reply = post(path.format(key), **body)
        assert reply.is_error, body
        assert reply.json()["message"]
        if body.get("content") == b"":
            assert reply.status_code == 400
    assert not [row for row in unfinished(*services_of(agent)) if key in row["target"]]
    assert tour.offline.calls == 0


@pytest.mark.parametrize("path", [*PRIVATE, "CronJob/{}/tick"])
def test_what_agents_tell_each_other_is_not_public(agent: ModuleType, key: str, path: str) -> None:
    reply = post(path.format(key), {})
    assert (reply.status_code, "not public" in reply.text) == (400, True)


# ---- the exercises

SLEEP = '    await ctx.sleep(timedelta(seconds=0.5), name="nap")\n'
LOOK = """    if await ctx.get("is_set", type_hint=bool):
        return "It is set already."
    ctx.set("is_set", True)
"""
CLEAR = '    ctx.clear("is_set")\n'
SEND = """    ctx.object_send(alarm_ring, ctx.key(), None, send_delay=timedelta(seconds=seconds))
"""
WRONG = {
    "no name": ("08.1", SLEEP, SLEEP.replace(', name="nap"', ""), "no `nap`"),
    "another name": ("08.1", SLEEP, SLEEP.replace('"nap"', '"pause"'), "named 'pause'"),
    "a step": (
        "08.1",
        SLEEP,
        "    await ctx.run_typed('nap', asyncio.sleep, delay=0.5)\n",
        "is a step that runs",
    ),
    "not awaited": ("08.1", SLEEP, SLEEP.replace("await ", ""), "Nobody waits"),
    "too short": ("08.1", SLEEP, SLEEP.replace("0.5", "0.05"), "half a second"),
    "no pause": ("08.1", SLEEP, "", "no `nap`"),
    "never forgotten": ("08.2", CLEAR, "", "cannot be set again"),
    "set, not looked for": ("08.2", LOOK, "    ctx.set('is_set', True)\n", "more than once"),
    "in a variable": (
        "08.2",
        LOOK,
        "    if ctx.key() in IS_SET:\n        return 'already'\n    IS_SET.append(ctx.key())\n",
        "in the memory of a process",
    ),
    "no alarm": ("08.2", SEND, "", "never rings"),
    "the same key for ever": (
        "08.2",
        f"{LOOK}    # end\n{SEND}",
        SEND.replace("seconds))", "seconds), idempotency_key=ctx.key())"),
        "cannot be set again",
    ),
    "by its time": (
        "08.2",
        LOOK,
        "    if (await ctx.get('t') or 0) > 0:\n        return 'already'\n    ctx.set('t', 1)\n",
        "cannot be set again",
    ),
}


@pytest.mark.anyio
@pytest.mark.parametrize("wrong", WRONG)
async def test_a_wrong_solution_is_told_what_it_lacks(
    agent: ModuleType, key: str, wrong: str
) -> None:
    number, right, replaced, told = WRONG[wrong]
    assert solution(number).count(right) == 1
    source = solution(number, (right, replaced))
    if wrong == "in a variable":
        source = source.replace(CLEAR, "    IS_SET.remove(ctx.key())\n")
    verdict = await judged(agent, number, source, key)
    assert not verdict
    assert told in repr(verdict)


@pytest.mark.anyio
@pytest.mark.parametrize("number", ["08.1", "08.2"])
async def test_a_solution_is_told_from_its_stub(agent: ModuleType, key: str, number: str) -> None:
    source = solution(number)
    assert await judged(agent, number, source, key)
    assert not await judged(agent, number, stub(source), f"{key} o'clock")
    assert await judged(agent, number, source, f"{key} a/b")


async def judged(agent: ModuleType, number: str, source: str, key: str) -> Verdict:
    """Run an exercise's cell as the notebook does, call it as the notebook does, and judge it."""
    names = namespace(agent, source, asyncio=asyncio, IS_SET=[])
    endpoint = tour.serve(names["nap" if number == "08.1" else "alarm"])
    try:
        if number == "08.1":
            await tour.call(names["nap_run"], {"prompt": "My name is Ada."})
        else:
            await alarmed(names, key)
        return tour.check(number)
    finally:
        endpoint.stop()


async def alarmed(names: dict[str, Any], key: str) -> None:
    for times in (2, 1):
        for _ in range(times):
            await tour.call(names["alarm_set"], 0.15, key=key)
        ring = f"AlarmAgent/{key}/ring"
        while any(row["target"] == ring for row in unfinished(names["alarm"])):
            await asyncio.sleep(0.02)
