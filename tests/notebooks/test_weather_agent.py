"""The weather agent of notebook 1, as others see it: over HTTP, in its schema, in its requests."""

import json
import sys
from types import ModuleType
from typing import Any

import pytest
import restate

import tour
from tests.helpers.agents import agents_of, failure_of, says, tool_call
from tests.helpers.outside import post
from tour import server
from tour.export import load

PROMPT = "What is the weather like in San Francisco?"
SYSTEM = {"role": "system", "content": "You are a helpful agent that provides weather updates."}

agent = agents_of("01")


def test_the_documented_call(agent: ModuleType) -> None:
    reply = post("/WeatherAgent/run", {"prompt": PROMPT})
    assert (reply.status_code, reply.json()) == (200, "San Francisco: 23 °C, sunny.")
    assert post("/restate/call/WeatherAgent/run", {"prompt": PROMPT}).json() == reply.json()


def test_one_deployment_serves_it(agent: ModuleType) -> None:
    [row] = server.query(
        "select endpoint from sys_service s join sys_deployment d on s.deployment_id = d.id "
        "where s.name = 'WeatherAgent'"
    )
    assert row["endpoint"].startswith("http://127.0.0.1:")


def test_the_playground_knows_the_default_question(agent: ModuleType) -> None:
    schema = json.dumps(server.request("GET", "/services/WeatherAgent/openapi").json())
    assert json.dumps({"default": PROMPT})[1:-1] in schema


def test_what_the_model_is_asked(agent: ModuleType) -> None:
    post("/WeatherAgent/run", {"prompt": PROMPT})
    first, second = tour.offline.requests
    assert first["messages"] == [SYSTEM, {"role": "user", "content": PROMPT}]
    assert first["parallel_tool_calls"] is False
    assert [tool["function"]["name"] for tool in first["tools"]] == ["get_weather"]
    assert [message["role"] for message in second["messages"]] == [
        "system",
        "user",
        "assistant",
        "tool",
    ]


@pytest.mark.anyio
async def test_the_loop_ends_after_five_rounds(
    agent: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    says(agent, monkeypatch, tool_call("get_weather", arguments='{"city": "Oslo"}'), ever=True)
    run = await tour.send(agent.run, {})
    await failure_of(run, "no answer after five rounds")
    assert run.journal.steps == ["LLM call", "get weather"] * 5


@pytest.mark.anyio
@pytest.mark.parametrize("arguments", ["{", "[]", '{"town": "Oslo"}', "null"])
async def test_a_tool_call_that_makes_no_sense_is_terminal(
    agent: ModuleType, monkeypatch: pytest.MonkeyPatch, arguments: str
) -> None:
    says(agent, monkeypatch, tool_call("get_weather", arguments=arguments), ever=True)
    run = await tour.send(agent.run, {})
    await failure_of(run, "makes no sense")
    assert run.journal.attempts("LLM call") == [1]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "tries", "reported"),
    [(400, 1, 400), (401, 1, 401), (404, 1, 404), (429, 3, 500), (500, 3, 500), (503, 3, 500)],
)
async def test_how_the_models_errors_end(
    agent: ModuleType, status: int, tries: int, reported: int
) -> None:
    """Terminal ones at the first try, with their status; transient ones when the tries are up."""
    tour.offline.fail(times=3, status=status, retry_after=0.05)
    run = await tour.send(agent.run, {})
    failure = await failure_of(run)
    assert failure.status == reported
    assert run.journal.attempts("LLM call") == [tries]
    assert tour.offline.calls == run.llm_calls == tries


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["cut", "malformed"])
async def test_a_broken_reply_is_asked_for_again(agent: ModuleType, kind: Any) -> None:
    tour.offline.fail(times=1, kind=kind)
    run = await tour.call(agent.run, {})
    assert run.result == "San Francisco: 23 °C, sunny."
    assert run.journal.attempts("LLM call") == [2, 1]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("Do I need a coat in Ulaanbaatar today?", "Ulaanbaatar: 23 °C, sunny."),
        ("weather for Trondheim please", "Trondheim: 23 °C, sunny."),
        ("What is the weather in Lagos and Oslo?", "Lagos: 23 °C, sunny. Oslo: 23 °C, sunny."),
    ],
)
async def test_questions_that_are_not_in_the_notebook(
    agent: ModuleType, prompt: str, answer: str
) -> None:
    run = await tour.call(agent.run, {"prompt": prompt})
    assert run.result == answer
    assert run.journal.attempts("LLM call") == [1] * (answer.count(".") + 1)


def test_a_new_start_forgets_failures_that_a_stopped_cell_has_left(agent: ModuleType) -> None:
    tour.offline.fail(times=3, status=500)
    tour.offline.latency = 30
    tour.start()
    assert post("/WeatherAgent/run", {"prompt": PROMPT}).status_code == 200
    assert tour.offline.calls == 2


@pytest.mark.anyio
async def test_without_a_key_nothing_leaves_the_machine(agent: ModuleType) -> None:
    """Python tells an audit hook of every connection, whichever library makes it."""
    hosts: list[str] = []

    def note(event: str, details: tuple[Any, ...]) -> None:
        if event == "socket.connect" and isinstance(details[1], tuple):
            hosts.append(details[1][0])

    sys.addaudithook(note)  # for the rest of the process: there is no removing one
    fresh = load("01")  # with a client that has no connection yet
    tour.serve(fresh.weather)
    assert (await tour.call(fresh.run, {})).result == "San Francisco: 23 °C, sunny."
    assert set(hosts) == {"127.0.0.1"}


def test_the_snippets_make_one_service(agent: ModuleType) -> None:
    services = [value for value in vars(agent).values() if isinstance(value, restate.Service)]
    assert [service.name for service in services] == ["WeatherAgent"]
