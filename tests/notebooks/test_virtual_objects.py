"""The two chats of notebook 3: memory, queue and bill; and what a wrong solution is told."""

import os
import signal
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from types import ModuleType
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest

import tour
from tests.helpers.agents import (
    agents_of,
    crash,
    failure_of,
    namespace,
    serve_again,
    serve_if_down,
    services_of,
    unfinished,
)
from tests.helpers.exercise_source import solution, stub
from tests.helpers.kernels import Kernel
from tests.helpers.outside import post
from tour import server

CHATS = ["Chat", "ThriftyChat"]
SYSTEM = {"role": "system", "content": "You are a helpful assistant."}
JSON = {"content-type": "application/json"}
STATE = "select service_key, key, value_utf8 from state where service_name = '{}' {}"

original = agents_of("03")


@pytest.fixture
def agent(original: ModuleType) -> ModuleType:
    """The agents, served; what a test has sabotaged is mended before the next one."""
    serve_if_down(original)
    return original


@pytest.fixture
def key() -> str:
    return uuid4().hex


@pytest.fixture(params=["message", "thrifty_message"])
def handler(request: pytest.FixtureRequest, agent: ModuleType) -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(agent, request.param)
    return found


def say(key: str, text: str, chat: str = "Chat") -> str:
    reply = post(f"{chat}/{quote(key, safe='')}/message", json={"message": text})
    assert reply.status_code == 200, reply.text
    assert set(reply.json()) == {"answer"}
    return str(reply.json()["answer"])


def history(key: str, chat: str = "Chat", name: str = "get_history") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = post(f"{chat}/{quote(key, safe='')}/{name}").json()
    return found


def said(messages: list[dict[str, Any]], role: str = "user") -> list[str]:
    return [each["content"] for each in messages if each["role"] == role]


def entries(invocation: str) -> list[str]:
    """Return the kinds of all entries of a journal."""
    rows = server.query(
        f"select entry_type from sys_journal where id = '{invocation}' order by index"
    )
    return [row["entry_type"].removeprefix("Command: ") for row in rows]


# ---- as documented


@pytest.mark.parametrize("chat", CHATS)
def test_the_documented_session(agent: ModuleType, chat: str) -> None:
    assert post(f"{chat}/session123/clear").status_code == 200
    assert history("session123", chat) == []
    assert say("session123", "My name is Ada.", chat) == "Noted: your name is Ada."
    assert say("session123", "What is my name?", chat) == "Your name is Ada."
    assert said(history("session123", chat)) == ["My name is Ada.", "What is my name?"]


def test_the_history_has_two_names(agent: ModuleType, key: str) -> None:
    say(key, "My name is Ada.")
    assert history(key, name="getHistory") == history(key) != []
    handlers = server.request("GET", "/services/Chat").json()["handlers"]
    kinds = {each["name"]: each["ty"] for each in handlers}
    assert kinds == {
        "message": "Exclusive",
        "clear": "Exclusive",
        "get_history": "Shared",
        "getHistory": "Shared",
    }


@pytest.mark.parametrize("chat", CHATS)
def test_the_playground_knows_a_message(agent: ModuleType, chat: str) -> None:
    schema = server.request("GET", f"/services/{chat}/openapi").text
    assert '"default":"My name is Ada."' in schema.replace(": ", ":")


@pytest.mark.anyio
async def test_the_second_request_contains_the_first_turn(
    handler: Callable[..., Any], key: str
) -> None:
    await tour.call(handler, {"message": "My name is Ada."}, key=key)
    await tour.call(handler, {"message": "What is my name?"}, key=key)
    first, second = tour.offline.requests
    assert first["messages"] == [SYSTEM, {"role": "user", "content": "My name is Ada."}]
    assert second["messages"][:2] == first["messages"]
    assert [each["role"] for each in second["messages"][2:]] == ["assistant", "user"]
    assert not {"tools", "parallel_tool_calls"} & set(first)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("told", "asked", "answer"),
    [
        (
            "My favourite colour is green.",
            "Do you remember my favourite colour?",
            "Your favourite colour is green.",
        ),
        ("Hi! My sister's name is Zoë.", "What is my sister's name?", "Your sister's name is Zoë."),
        ("I think my shoes are too small", "What did I say before?", None),
        ("東京に行きます", "What did I say first?", 'You said: "東京に行きます"'),
    ],
)
async def test_facts_that_are_not_in_the_notebook(
    handler: Callable[..., Any], key: str, told: str, asked: str, answer: str | None
) -> None:
    first = await tour.call(handler, {"message": told}, key=key)
    second = await tour.call(handler, {"message": asked}, key=key)
    assert second.result == {"answer": answer or f'You said: "{told}"'}
    for run in (first, second):
        assert run.journal.steps == ["LLM call"]
        assert run.journal.attempts("LLM call") == [1]
        assert run.llm_calls == 1


@pytest.mark.parametrize("chat", CHATS)
def test_keys_are_apart_whatever_they_look_like(agent: ModuleType, key: str, chat: str) -> None:
    keys = [f"{key} {name}" for name in ("ada@example.org", "Zoë & co/1", "o'brien", "東京")]
    for number, each in enumerate(keys):
        say(each, f"My number is {number}.", chat)
    for number, each in enumerate(keys):
        assert say(each, "What is my number?", chat) == f"Your number is {number}."
        assert said(history(each, chat)) == [f"My number is {number}.", "What is my number?"]


# ---- what memory survives


def test_memory_outlives_the_kernel_and_the_server(agent: ModuleType, key: str) -> None:
    tell = f"await tour.call(agent.message, {{'message': 'My dog is Rex.'}}, key={key!r})"
    start = "import tour\nfrom tour.export import load\ntour.start()\nagent = load('03')\n"
    crash(agent)
    with Kernel() as first:
        first.good(start + "tour.serve(agent.chat, agent.thrifty)\n" + tell)
    os.kill(int(server.pid() or 0), signal.SIGKILL)
    serve_again(agent)
    assert say(key, "What is my dog?") == "Your dog is Rex."


def test_a_conversation_outlives_its_journals(agent: ModuleType, key: str) -> None:
    say(key, "My dog is Rex.")
    mine = f"select id from sys_invocation where target_service_key = '{key}'"
    for row in server.query(mine):
        server.request("PATCH", f"/invocations/{row['id']}/purge")
    assert server.query(mine) == []
    assert say(key, "What is my dog?") == "Your dog is Rex."


@pytest.mark.parametrize(("chat", "parts"), [("Chat", 1), ("ThriftyChat", 2)])
def test_clear_leaves_nothing(agent: ModuleType, key: str, chat: str, parts: int) -> None:
    for _ in range(5):
        say(key, "My dog is Rex.", chat)
    here = STATE.format(chat, f"and service_key = '{key}'")
    assert len(server.query(here)) == parts
    assert post(f"{chat}/{key}/clear").status_code == 200
    assert server.query(here) == []
    assert say(key, "What is my dog?", chat) == "You have not told me your dog."


@pytest.mark.anyio
async def test_a_crash_before_the_set_arrives_applies_it_once(
    agent: ModuleType, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was set had not left the process; the next try sets it."""

    def dies(reply: dict[str, Any]) -> dict[str, str]:
        crash(agent)
        raise SystemError("nobody hears this")

    monkeypatch.setattr(agent, "answer_of", dies)
    run = await tour.send(agent.message, {"message": "My dog is Rex."}, key=key)
    await run.until("backing-off")
    assert "SetState" not in entries(run.id)
    assert server.query(STATE.format("Chat", f"and service_key = '{key}'")) == []
    monkeypatch.undo()
    serve_again(agent)
    assert await run.result() == {"answer": "Noted: your dog is Rex."}
    assert Counter(entries(run.id))["SetState"] == 1
    assert said(history(key)) == ["My dog is Rex."]
    assert run.journal.attempts("LLM call") == [1]


@pytest.mark.anyio
async def test_a_failure_after_the_set_applies_it_once(
    agent: ModuleType, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was set is stored, and seen by readers; the next try finds it in the journal."""
    say(key, "My cat is Mia.")

    def fails(reply: dict[str, Any]) -> dict[str, str]:
        raise ConnectionError("the line went dead")

    monkeypatch.setattr(agent, "answer_of", fails)
    run = await tour.send(agent.message, {"message": "My dog is Rex."}, key=key)
    await run.until("backing-off")
    assert said(history(key)) == ["My cat is Mia.", "My dog is Rex."]
    monkeypatch.undo()
    serve_again(agent)
    await run.result()
    assert Counter(entries(run.id))["SetState"] == 1
    assert said(history(key)) == ["My cat is Mia.", "My dog is Rex."]
    assert run.llm_calls == 1


# ---- the queue


@pytest.mark.parametrize("chat", CHATS)
def test_messages_at_the_same_time_lose_nothing(agent: ModuleType, key: str, chat: str) -> None:
    """Three conversations, four messages each, all at once over HTTP."""
    keys = [f"{key}-{number}" for number in range(3)]
    texts = [(each, f"My item {n} is number {n}.") for n in range(4) for each in keys]
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda each: say(each[0], each[1], chat), texts))
    for (_, text), answer in zip(texts, answers, strict=True):
        assert answer == text.replace("My", "Noted: your", 1)
    for each in keys:
        turns = history(each, chat)
        assert sorted(said(turns)) == [text for owner, text in texts if owner == each]
        for asked, reply in pairwise(turns):
            if asked["role"] == "user":
                assert reply["content"] == asked["content"].replace("My", "Noted: your", 1)


@pytest.mark.anyio
async def test_a_message_that_fails_for_good_frees_its_key(
    handler: Callable[..., Any], key: str
) -> None:
    tour.offline.fail(times=3, status=500)
    failing = await tour.send(handler, {"message": "My dog is Rex."}, key=key)
    waiting = await tour.send(handler, {"message": "What is my dog?"}, key=key)
    await failure_of(failing, "told to fail")
    assert await waiting.result() == {"answer": "You have not told me your dog."}
    assert failing.journal.attempts("LLM call") == [3]
    assert waiting.journal.attempts("LLM call") == [1]
    chat, _, _ = failing.target.split("/")
    assert said(history(key, chat)) == ["What is my dog?"], "the failed turn left no trace"


@pytest.mark.anyio
@pytest.mark.parametrize("status", [400, 401, 404])
async def test_an_error_that_does_not_pass_is_one_try(
    handler: Callable[..., Any], key: str, status: int
) -> None:
    tour.offline.fail(times=3, status=status)
    run = await tour.send(handler, {"message": "Hello"}, key=key)
    failure = await failure_of(run)
    assert failure.status == status
    assert run.journal.attempts("LLM call") == [1]
    assert tour.offline.calls == 1


# ---- state from outside


def test_the_table_has_what_the_chat_reads(agent: ModuleType, key: str) -> None:
    say(key, "My dog is Rex.")
    [row] = server.query(STATE.format("Chat", f"and service_key = '{key}'"))
    assert row["key"] == "messages"
    assert httpx.Response(200, text=row["value_utf8"]).json() == history(key)


@pytest.mark.parametrize("chat", CHATS)
def test_an_edited_memory_is_believed(agent: ModuleType, key: str, chat: str) -> None:
    say(key, "My dog is Rex.", chat)
    edit(chat, key, b'[{"role": "user", "content": "My dog is Bello."}]')
    assert said(history(key, chat)) == ["My dog is Bello."]
    assert say(key, "What is my dog?", chat) == "Your dog is Bello."


@pytest.mark.anyio
async def test_a_memory_that_is_no_json_is_mended_by_another_edit(
    agent: ModuleType, key: str
) -> None:
    edit("Chat", key, b"My dog is Bello.")
    run = await tour.send(agent.message, {"message": "What is my dog?"}, key=key)
    await run.until("backing-off")
    assert run.journal.steps == [], "nothing was paid for"
    await run.kill()
    edit("Chat", key, b"[]")
    assert say(key, "What is my dog?") == "You have not told me your dog."


def edit(chat: str, key: str, messages: bytes) -> None:
    change = {"object_key": key, "new_state": {"messages": list(messages)}}
    assert server.request("POST", f"/services/{chat}/state", json=change).status_code == 202


# ---- the bill


@pytest.mark.anyio
async def test_the_thrifty_chat_sends_no_more_than_it_may(agent: ModuleType, key: str) -> None:
    for number in range(14):
        text = f"My note {number} is that it rains in week {number}."
        run = await tour.call(agent.thrifty_message, {"message": text}, key=key)
        assert run.journal.steps in (["LLM call"], ["Summarise", "LLM call"])
        assert len(history(key, "ThriftyChat")) <= agent.MOST + 2
    sent = [len(each["messages"]) for each in tour.offline.requests]
    assert max(sent) == 1 + 1 + agent.MOST + 1  # the instructions, the summary, the new message
    orders = [each for each in tour.offline.requests if each["messages"][0]["role"] == "user"]
    assert len(orders) == 4
    assert all(len(str(each)) < 900 for each in orders)
    asked = {"message": "What is my note 0?"}
    answer = await tour.call(agent.thrifty_message, asked, key=key)
    assert answer.result == {"answer": "Your note 0 is that it rains in week 0."}


@pytest.mark.parametrize(
    ("told", "asked", "answer"),
    [
        (
            "My favourite colour is green",
            "What is my favourite colour?",
            "favourite colour is green",
        ),
        (
            "Hello there: my sister's name is Zoë!",
            "Do you know my sister's name?",
            "sister's name is Zoë",
        ),
        ("my budget is 1200 euros", "What was my budget?", "budget is 1200 euros"),
    ],
)
def test_a_summary_keeps_facts_that_are_not_in_the_notebook(
    agent: ModuleType, key: str, told: str, asked: str, answer: str
) -> None:
    for text in [told, *(f"My item {number} is blue." for number in range(9))]:
        say(key, text, "ThriftyChat")
    assert told not in said(history(key, "ThriftyChat"))
    assert say(key, asked, "ThriftyChat") == f"Your {answer}."


@pytest.mark.anyio
async def test_a_crash_does_not_pay_for_a_summary_twice(
    agent: ModuleType, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in ["My name is Ada.", "Hello", "Hello", "Hello"]:
        say(key, text, "ThriftyChat")
    tour.offline.reset()
    ask = agent.ask_model

    async def dies(messages: list[dict[str, Any]]) -> dict[str, Any]:
        if messages[0] == SYSTEM:
            crash(agent)
        reply: dict[str, Any] = await ask(messages)
        return reply

    monkeypatch.setattr(agent, "ask_model", dies)
    run = await tour.send(agent.thrifty_message, {"message": "What is my name?"}, key=key)
    await run.until("backing-off")
    monkeypatch.undo()
    serve_again(agent)
    assert await run.result() == {"answer": "Your name is Ada."}
    assert run.journal.steps == ["Summarise", "LLM call"]
    assert run.journal.attempts("Summarise") == [1]
    assert len(said(history(key, "ThriftyChat"))) == 2


# ---- bad input


BAD: dict[str, dict[str, Any]] = {
    "empty": {"content": b""},
    "empty, called JSON": {"content": b"", "headers": JSON},
    "not JSON": {"content": b"Hello", "headers": JSON},
    "null": {"content": b"null", "headers": JSON},
    "a string": {"json": "Hello"},
    "a list": {"json": [{"message": "Hello"}]},
    "a message of the wrong type": {"json": {"message": 7}},
    "a message that is null": {"json": {"message": None}},
    "an unknown field": {"json": {"message": "Hello", "user": "Ada"}},
    "only an unknown field": {"json": {"massage": "Hello"}},
}


@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize("body", BAD.values(), ids=BAD)
def test_a_bad_body_is_refused_at_once(
    agent: ModuleType, key: str, chat: str, body: dict[str, Any]
) -> None:
    reply = post(f"{chat}/{key}/message", **body)
    assert reply.is_error
    assert reply.json()["message"]
    if body.get("content") == b"":
        assert reply.status_code == 400
        assert "empty" in reply.text.lower()
    assert unfinished(*services_of(agent)) == []
    assert tour.offline.calls == 0
    assert history(key, chat) == []


def test_what_takes_no_key_or_no_body_says_so(agent: ModuleType, key: str) -> None:
    # Restate does not read the body, and cuts the connection some time after its answer.
    alone = {"connection": "close"}
    keyless = post("Chat/message", json={"message": "Hello"}, headers=alone)
    assert keyless.status_code in (400, 404)
    assert post(f"Chat/{key}/forget").status_code == 404
    assert post(f"Chat/{key}/clear", json={"message": "Hello"}).status_code == 400
    assert unfinished(*services_of(agent)) == []


@pytest.mark.parametrize("text", ["", " ", "\n", "'; drop table state; --", "🌧️", "x" * 50_000])
def test_any_text_is_a_message(agent: ModuleType, key: str, text: str) -> None:
    assert say(key, text)
    assert said(history(key)) == [text]


# ---- the exercises

USAGE = """    turns = (await ctx.get("turns", type_hint=int) or 0) + 1
    ctx.set("turns", turns)
"""
KEPT = '    ctx.set("messages", [*history, asked, reply][-6:])\n'
WRONG = {
    "set, not read": (
        "03.1",
        USAGE,
        "    turns = 1\n    ctx.set('turns', turns)\n",
        "never read",
    ),
    "read from a variable, and set": (
        "03.1",
        USAGE,
        "    turns = COUNTED[ctx.key()] = COUNTED.get(ctx.key(), 0) + 1\n"
        "    ctx.set('turns', turns)\n",
        "never read",
    ),
    "one variable for all conversations": (
        "03.1",
        USAGE,
        "    turns = COUNTED['all'] = COUNTED.get('all', 0) + 1\n    ctx.set('turns', turns)\n",
        "never read",
    ),
    "read, and not counted on": (
        "03.1",
        USAGE,
        USAGE.replace(") + 1", ") * 0 + 1"),
        "numbered from 1",
    ),
    "counted from nought": (
        "03.1",
        USAGE,
        "    before = await ctx.get('turns', type_hint=int)\n"
        "    turns = 1 if before is None else before + 2\n"
        "    ctx.set('turns', turns - 1)\n",
        "in the state is 1",
    ),
    "under another name": ("03.1", USAGE, USAGE.replace('"turns"', '"count"'), "no `turns`"),
    "a step, not the state": (
        "03.1",
        USAGE,
        "    turns = await ctx.run_typed('count', lambda: 1)\n",
        "no `turns`",
    ),
    "the first six": ("03.2", KEPT, KEPT.replace("[-6:]", "[:6]"), "not the last"),
    "the last five": ("03.2", KEPT, KEPT.replace("-6", "-5"), "5 are kept"),
    "the last turn": ("03.2", KEPT, KEPT.replace("-6", "-2"), "2 are kept"),
    "the last eight": ("03.2", KEPT, KEPT.replace("-6", "-8"), "more than 6"),
    "trimmed before the reply": (
        "03.2",
        KEPT,
        "    ctx.set('messages', [*[*history, asked][-6:], reply])\n",
        "more than 6",
    ),
    "all forgotten when it is too much": (
        "03.2",
        KEPT,
        "    kept = [*history, asked, reply]\n"
        "    ctx.set('messages', kept if len(kept) <= 6 else kept[-2:])\n",
        "are kept",
    ),
    "the first turn and the last two": (
        "03.2",
        KEPT,
        "    kept = [*history, asked, reply]\n    ctx.set('messages', kept[:2] + kept[2:][-4:])\n",
        "not the last",
    ),
    "trimmed for the model, and kept in full": (
        "03.2",
        KEPT,
        "    ctx.set('messages', [*history, asked, reply])\n",
        "more than 6",
    ),
    "nothing kept": ("03.2", KEPT, "    ctx.clear('messages')\n", "0 are kept"),
}


@pytest.mark.anyio
@pytest.mark.parametrize("wrong", WRONG)
async def test_a_wrong_solution_is_told_what_it_lacks(
    agent: ModuleType, key: str, wrong: str
) -> None:
    number, right, replaced, told = WRONG[wrong]
    assert solution(number).count(right) == 1
    verdict = await judged(agent, number, solution(number, (right, replaced)), key)
    assert not verdict
    assert told in repr(verdict)


@pytest.mark.anyio
@pytest.mark.parametrize("number", ["03.1", "03.2"])
@pytest.mark.parametrize("odd", ["o'brien", "a/b"])
async def test_a_solution_is_right_under_any_key(
    agent: ModuleType, key: str, number: str, odd: str
) -> None:
    source = solution(number)
    assert await judged(agent, number, source, f"{key} {odd}")
    assert not await judged(agent, number, stub(source), f"{key} {odd} again")


@pytest.mark.anyio
async def test_three_turns_are_too_few_to_judge(agent: ModuleType, key: str) -> None:
    verdict = await judged(agent, "03.2", solution("03.2"), key, turns=3)
    assert "five turns" in repr(verdict)


@pytest.mark.anyio
async def test_another_way_to_count_is_as_good(agent: ModuleType, key: str) -> None:
    other = (
        "    known = 'turns' in await ctx.state_keys()\n"
        "    ctx.set('turns', turns := (await ctx.get('turns') if known else 0) + 1)\n"
    )
    assert await judged(agent, "03.1", solution("03.1", (USAGE, other)), key, turns=4)


async def judged(
    agent: ModuleType, number: str, source: str, key: str, turns: int = 0
) -> tour.exercises.Verdict:
    """Run an exercise's cell as the notebook does, let it have a conversation, and judge it."""
    names = namespace(agent, source, COUNTED={"all": 7})
    service, handler = {"03.1": ("usage", "usage_message"), "03.2": ("trimmed", "trimmed_message")}[
        number
    ]
    endpoint = tour.serve(names[service])
    try:
        for turn in range(turns or {"03.1": 2, "03.2": 5}[number]):
            text = f"My item {turn} is number {turn}."
            await tour.call(names[handler], {"message": text}, key=key)
        return tour.check(number)
    finally:
        endpoint.stop()
