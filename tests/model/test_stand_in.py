"""The offline model over real HTTP, and the thread that serves it."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPConnection
from typing import Any

import httpx
import openai
import pytest
from pydantic import BaseModel

from tests.helpers.documented import CLAIM, CLAIM_RULES
from tests.helpers.serving import stand_in
from tour.asgi import AsgiServer, LoopThread
from tour.errors import TourError
from tour.model import NO_RULE, OfflineModel, Tokens

WEATHER = {
    "name": "get_weather",
    "description": "Get the current weather for a given city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
CLAIM_SCHEMA = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in CLAIM} | {"amount": {"type": "number"}},
    "required": [*CLAIM],
}
NESTED_CLAIM = {
    "type": "object",
    "properties": {"claim": {"$ref": "#/$defs/Claim"}},
    "required": ["claim"],
    "$defs": {"Claim": CLAIM_SCHEMA},
}
NOTHING = {"type": "object", "properties": {}}
ENGINE = "You are a claim approval engine. Analyze the claim and use your tools to decide."
SUPPORT = (
    "You are a support agent. Use the available tools to answer the user's question. "
    "If you don't know the answer, create a support ticket"
)


def function(name: str, description: str, parameters: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "description": description, "parameters": parameters}


APPROVAL = function("human_approval", "Ask for human approval for high-value claims.", NESTED_CLAIM)
ANALYSES = [
    function("analyze_eligibility", "Analyze eligibility result.", CLAIM_SCHEMA),
    function("analyze_fraud", "Analyze probability of fraud.", CLAIM_SCHEMA),
]
DATABASE = function("query_user_database", "Get user account and billing info", NOTHING)
TICKET = function(
    "create_support_ticket",
    "Create support tickets",
    {
        "type": "object",
        "properties": {"description": {"type": "string"}},
        "required": ["description"],
    },
)


@pytest.fixture(scope="module")
def running() -> Iterator[OfflineModel]:
    with stand_in() as model:
        yield model


@pytest.fixture
def model(running: OfflineModel) -> OfflineModel:
    running.reset()
    return running


@pytest.fixture(scope="module")
def shared_client(running: OfflineModel) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=running.url, api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
def client(model: OfflineModel, shared_client: openai.OpenAI) -> openai.OpenAI:
    assert model.calls == 0
    return shared_client


@pytest.fixture(scope="module")
def shared_http(running: OfflineModel) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url) as client:
        yield client


@pytest.fixture
def http(model: OfflineModel, shared_http: httpx.Client) -> httpx.Client:
    assert model.calls == 0
    return shared_http


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openai._base_client.MAX_RETRY_DELAY", 0.01)


def user(*texts: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text} for text in texts]


def chat(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "any", "messages": user(text), **more}


class Agent:
    """The plainest loop that there is: what the model calls, it gets."""

    def __init__(self, client: openai.OpenAI, tools: list[dict[str, Any]], **options: Any) -> None:
        self.client, self.options = client, options
        self.tools: Any = [{"type": "function", "function": tool} for tool in tools]
        self.rounds: list[list[tuple[str, Any]]] = []

    def run(
        self, text: str, system: str = "", tool: Callable[..., str] = lambda **_: "done"
    ) -> str:
        messages: Any = [{"role": "system", "content": system}, *user(text)]
        for _ in range(6):
            reply: Any = self.client.chat.completions.create(
                model="any", messages=messages, tools=self.tools, **self.options
            )
            message = reply.choices[0].message
            if not message.tool_calls:
                assert reply.choices[0].finish_reason == "stop"
                return str(message.content)
            assert reply.choices[0].finish_reason == "tool_calls"
            messages.append(message.model_dump(exclude_none=True))
            called = [
                (call.id, call.function.name, json.loads(call.function.arguments))
                for call in message.tool_calls
            ]
            self.rounds.append([(name, arguments) for _, name, arguments in called])
            messages += [
                {"role": "tool", "tool_call_id": id_, "content": tool(**arguments)}
                for id_, _, arguments in called
            ]
        raise AssertionError("the model never came to an end")

    @property
    def cities(self) -> list[list[str]]:
        return [[arguments["city"] for _, arguments in called] for called in self.rounds]

    @property
    def called(self) -> list[str]:
        return [name for called in self.rounds for name, _ in called]


# --- tools ---------------------------------------------------------------------------------


@pytest.mark.parametrize("system", ["", "You are a helpful agent that provides weather updates."])
@pytest.mark.parametrize(
    ("prompt", "cities"),
    [
        ("What is the weather in Lagos and Oslo?", ["Lagos", "Oslo"]),
        ("What's the weather like in San Francisco?", ["San Francisco"]),
        ("What is the weather in San Francisco and New York?", ["San Francisco", "New York"]),
        ("weather in Denver please", ["Denver"]),
        ("Is it raining in São Paulo or Kyoto?", ["São Paulo", "Kyoto"]),
        ("Do I need an umbrella in new york today?", ["New York"]),
        ("Compare Paris, Rome and Nairobi", ["Paris", "Rome", "Nairobi"]),
        ("wetter in Köln?", ["Köln"]),
        ("Lagos", ["Lagos"]),
        ("Berlin weather", ["Berlin"]),
        ("Weather for tomorrow in St. Louis, please.", ["St. Louis"]),
        ("What is the weather in Paris and should I take an umbrella?", ["Paris"]),
        ("The weather in Lagos and in Lagos?", ["Lagos"]),
    ],
)
def test_cities(client: openai.OpenAI, system: str, prompt: str, cities: list[str]) -> None:
    agent = Agent(client, [WEATHER])
    answer = agent.run(prompt, system, lambda city: f"{city}: 23 °C, sunny")
    assert agent.cities == [cities]
    assert answer == " ".join(f"{city}: 23 °C, sunny." for city in cities)


def test_one_call_at_a_time(client: openai.OpenAI) -> None:
    agent = Agent(client, [WEATHER], parallel_tool_calls=False)
    answer = agent.run("What is the weather in Lagos and Oslo?", tool=lambda city: f"mild {city}")
    assert agent.cities == [["Lagos"], ["Oslo"]]
    assert answer == "mild Lagos. mild Oslo."


@pytest.mark.parametrize(
    ("result", "answer"),
    [
        ("23 °C, sunny.", "Lagos: 23 °C, sunny."),
        (
            '{"temperature": 23, "description": "Sunny"}',
            "Lagos: temperature 23, description Sunny.",
        ),
        ('["mild", "dry"]', "Lagos: mild, dry."),
        ('"dry"', "Lagos: dry."),
        ("error: no such city", "Lagos: this could not be done (no such city)."),
        ("Tool not found: get_weather", "Lagos: this could not be done (get_weather)."),
    ],
)
def test_results_in_words(client: openai.OpenAI, result: str, answer: str) -> None:
    assert Agent(client, [WEATHER]).run("weather in Lagos", tool=lambda **_: result) == answer


def test_a_result_is_not_named_after_a_sentence(client: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"reason": {"type": "string"}}}
    agent = Agent(client, [function("report_loss", "Report a loss.", schema)])
    answer = agent.run("I report that my bike is gone.", tool=lambda **_: "noted")
    assert agent.rounds == [[("report_loss", {"reason": "I report that my bike is gone."})]]
    assert answer == "report loss: noted."


@pytest.mark.parametrize("prompt", ["What is the weather like?", "Is it going to rain today?"])
def test_asks_for_the_city(client: openai.OpenAI, prompt: str) -> None:
    agent = Agent(client, [WEATHER])
    assert agent.run(prompt) == "I need one thing more: which city?"
    assert agent.rounds == []


def test_reads_the_beginning_of_a_long_message(client: openai.OpenAI) -> None:
    agent = Agent(client, [WEATHER])
    agent.run(f"Weather in Lagos? {'x ' * 10_000} And in Oslo?")
    assert agent.cities == [["Lagos"]]


@pytest.mark.parametrize("prompt", ["Hello!", "Tell me a joke", "Write a poem about the sea"])
def test_never_pretends(client: openai.OpenAI, prompt: str) -> None:
    assert Agent(client, [WEATHER]).run(prompt, "You provide weather updates.") == NO_RULE


@pytest.mark.parametrize(
    ("prompt", "tool_choice", "rounds"),
    [
        ("weather in Lagos", "auto", [["Lagos"]]),
        ("weather in Lagos", "none", []),
        ("weather in Lagos", "required", [["Lagos"]]),
        ("Hello", "required", [[""]]),
        ("Hello", {"type": "function", "function": {"name": "get_weather"}}, [[""]]),
    ],
)
def test_tool_choice(client: openai.OpenAI, prompt: str, tool_choice: Any, rounds: Any) -> None:
    agent = Agent(client, [WEATHER], tool_choice=tool_choice)
    agent.run(prompt)
    assert agent.cities == rounds


REPORT = function(
    "final_report",
    "Ends the conversation.",
    {
        "type": "object",
        "properties": {"city": {"type": "string"}, "temperature": {"type": "integer"}},
        "required": ["city", "temperature"],
    },
)


@pytest.mark.parametrize("parallel", [True, False])
def test_a_tool_that_must_be_called_waits_for_what_it_needs(
    client: openai.OpenAI, parallel: bool
) -> None:
    agent = Agent(client, [WEATHER, REPORT], tool_choice="required", parallel_tool_calls=parallel)
    agent.run("What is the weather in Lagos?", tool=lambda **_: "31 °C, sunny")
    report = ("final_report", {"city": "Lagos", "temperature": 31})
    assert agent.rounds == [[("get_weather", {"city": "Lagos"})], [report]]


def test_a_tool_is_called_by_name_after_the_results_of_another(client: openai.OpenAI) -> None:
    call = {"name": "get_weather", "arguments": '{"city": "Lagos"}'}
    said: Any = [
        *user("What is the weather in Lagos?"),
        {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": call}]},
        {"role": "tool", "tool_call_id": "1", "content": "31 °C, sunny"},
    ]
    tools: Any = [{"type": "function", "function": each} for each in (WEATHER, REPORT)]
    choice: Any = {"type": "function", "function": {"name": "final_report"}}
    reply: Any = client.chat.completions.create(
        model="any", messages=said, tools=tools, tool_choice=choice
    )
    (made,) = reply.choices[0].message.tool_calls
    assert reply.choices[0].finish_reason == "tool_calls"
    assert made.function.name == "final_report"
    assert json.loads(made.function.arguments) == {"city": "Lagos", "temperature": 31}


@pytest.mark.parametrize(
    ("prompt", "amount"),
    [
        (f"Claim: {json.dumps(CLAIM)}", 3000),
        (f"Claim: {json.dumps(CLAIM | {'amount': 1000})}", None),
        (f"Claim: {json.dumps(CLAIM | {'amount': 500})}", None),
        ("Process my hospital bill of 3000USD for a broken leg.", 3000),
        ("Process my hospital bill of $1,200.50", 1200.5),
        ("My bill is EUR 45 for 2000 nights", None),
        ("I paid $2k", 2000),
    ],
)
@pytest.mark.parametrize("schema", [NESTED_CLAIM, CLAIM_SCHEMA])
@pytest.mark.parametrize("verdict", [("true", "Approved"), ("false", "Rejected")])
def test_asks_a_human_above_the_limit(
    client: openai.OpenAI,
    prompt: str,
    amount: float | None,
    schema: dict[str, Any],
    verdict: tuple[str, str],
) -> None:
    result, word = verdict
    agent = Agent(client, [APPROVAL | {"parameters": schema}])
    answer = agent.run(prompt, CLAIM_RULES, lambda **_: result)
    if amount is None:
        assert agent.called == []
        assert answer.startswith("Approved: ")
        return
    ((_, arguments),) = agent.rounds[0]
    claim = arguments.get("claim", arguments)
    assert claim["amount"] == amount
    assert set(claim) == set(CLAIM)
    assert agent.called == ["human_approval"]
    assert answer == f"{word}. human approval: {result}."


@pytest.mark.parametrize("rule", ["> 1000", "above 1,000", "over $1000", "exceeds 1000"])
def test_limits_are_read(client: openai.OpenAI, rule: str) -> None:
    agent = Agent(client, [APPROVAL])
    system = f"You decide about claims. If the amount is {rule} use human_approval."
    agent.run("Claim of 1001 EUR", system, lambda **_: "true")
    assert agent.called == ["human_approval"]
    bound = rule.rpartition(" ")[2].strip("$")
    answer = agent.run("Claim of 999 EUR", system)
    assert answer == f"Approved: 999 is not more than {bound}, so I decide it myself."


@pytest.mark.parametrize(
    ("tools", "results", "word"),
    [
        (ANALYSES, "eligible", "Approved"),
        (ANALYSES, "not eligible", "Rejected"),
        (ANALYSES, '{"fraud": false}', "Approved"),
        (
            [function("calculate_metrics", "Calculate claim metrics.", NESTED_CLAIM)],
            "[]",
            "Approved",
        ),
    ],
)
@pytest.mark.parametrize("parallel", [True, False])
def test_agents_as_tools(
    client: openai.OpenAI, tools: list[dict[str, Any]], results: str, word: str, parallel: bool
) -> None:
    agent = Agent(client, tools, parallel_tool_calls=parallel)
    answer = agent.run(f"Claim: {json.dumps(CLAIM)}", ENGINE, lambda **_: results)
    assert agent.called == [tool["name"] for tool in tools]
    assert len(agent.rounds) == (1 if parallel else len(tools))
    assert all(args.get("claim", args) == CLAIM for ((_, args), *_) in agent.rounds)
    assert answer.startswith(f"{word}. ")


@pytest.mark.parametrize(
    ("prompt", "calls"),
    [
        ("Why was I charged twice?", [("query_user_database", {})]),
        ("What plan am I on?", [("query_user_database", {})]),
        ("I have a problem with my account", [("query_user_database", {})]),
        (
            "My laptop is on fire",
            [("create_support_ticket", {"description": "My laptop is on fire"})],
        ),
    ],
)
def test_support_tools(client: openai.OpenAI, prompt: str, calls: list[Any]) -> None:
    agent = Agent(client, [DATABASE, TICKET])
    agent.run(prompt, SUPPORT)
    assert agent.rounds == [calls]


@pytest.mark.parametrize(
    ("properties", "prompt", "arguments"),
    [
        ({"user_id": "string"}, "Look up user_12", [{"user_id": "user_12"}]),
        (
            {"orderId": "string"},
            "look up C-17 and C-18",
            [{"orderId": "C-17"}, {"orderId": "C-18"}],
        ),
        ({"a": "integer", "b": "integer"}, "look up 3 and 4", [{"a": 3, "b": 4}]),
        ({"email": "string"}, "look up ada@example.org.", [{"email": "ada@example.org"}]),
        ({"date": "string"}, "look up 2025-01-02", [{"date": "2025-01-02"}]),
        (
            {"currency": "string", "amount": "number"},
            "look up 5 EUR",
            [{"currency": "EUR", "amount": 5}],
        ),
        ({"priority": "string"}, "look up, priority: high", [{"priority": "high"}]),
        ({"query": "string"}, "look up this", [{"query": "look up this"}]),
        ({"cities": "array"}, "look up in Rome and Oslo", [{"cities": ["Rome", "Oslo"]}]),
        ({"dry_run": "boolean"}, 'look up {"dryRun": true}', [{"dry_run": True}]),
        ({"user_name": "string"}, 'look up {"UserName": "Ada"}', [{"user_name": "Ada"}]),
        ({"unit": ["celsius", "kelvin"]}, "look up in kelvin", [{"unit": "kelvin"}]),
    ],
)
def test_arguments(client: openai.OpenAI, properties: Any, prompt: str, arguments: Any) -> None:
    schemas = {
        n: {"enum": t} if isinstance(t, list) else {"type": t} for n, t in properties.items()
    }
    parameters = {"type": "object", "properties": schemas, "required": [*schemas]}
    agent = Agent(client, [function("look_up", "Look something up.", parameters)])
    agent.run(prompt)
    assert [args for _, args in agent.rounds[0]] == arguments


# --- plain text ----------------------------------------------------------------------------

ELIGIBLE = (
    "Decide whether the following claim is eligible for reimbursement. "
    "Respond with eligible if it's a medical claim, and not eligible otherwise."
)
DECIDE = "Decide about claim {}. Base it on: Eligibility: {} Fraud: low risk"


@pytest.mark.parametrize(
    ("system", "said", "answer"),
    [
        (ELIGIBLE, [json.dumps(CLAIM)], "eligible"),
        (ELIGIBLE, ['{"category": "car", "reason": "new tyres"}'], "not eligible"),
        ("Respond with low risk, medium risk, or high risk.", ["{}"], "low risk"),
        (
            "You are a claim decision engine.",
            [DECIDE.format(json.dumps(CLAIM), "eligible")],
            "Approved.",
        ),
        (
            "You are a claim decision engine.",
            [DECIDE.format(json.dumps(CLAIM), "not eligible")],
            "Rejected: an analysis speaks against it.",
        ),
        ("", ["Analyze the sentiment: I love it"], "positive"),
        ("", ["Sentiment? : a terrible, slow day"], "negative"),
        ("", ["Extract 3 key points: One. Two! Three? Four."], "- One.\n- Two!\n- Three?"),
        ("", ["Summarise this: It is fast. It is durable."], "It is fast."),
        ("Summarize the text.", ["It is fast. It is durable."], "It is fast."),
        ("", ["Translate to French: good morning"], NO_RULE),
        ("", ["My name is Ada."], "Noted: your name is Ada."),
        ("", ["My name is Ada.", "What is my name?"], "Your name is Ada."),
        (
            "",
            ["my favourite colour is blue!", "What's my favourite colour?"],
            "Your favourite colour is blue.",
        ),
        ("", ["What is my name?"], "You have not told me your name."),
        ("", ["First", "Second", "What did I ask you first?"], 'You said: "First"'),
        ("", ["First", "Second", "What did I say before?"], 'You said: "Second"'),
        ("", ["What did I say before?"], "You have not said anything before this."),
    ],
)
def test_plain_text(client: openai.OpenAI, system: str, said: list[str], answer: str) -> None:
    messages: Any = [{"role": "system", "content": system}, *user(*said)]
    reply = client.chat.completions.create(model="any", messages=messages)
    assert reply.choices[0].message.content == answer
    assert reply.model == "offline-stand-in"


class Leg(BaseModel):
    city: str
    nights: int | None


class Trip(BaseModel):
    city: str
    amount: float
    kind: str
    legs: list[Leg]
    approved: bool
    note: str | None


@pytest.mark.parametrize(
    ("rule", "answer"),
    [
        ('Begin every answer with "Good morning!"', "Good morning! Lima: 21 °C."),
        ("End each reply with 'Take care.'", "Lima: 21 °C. Take care."),
        ("Be kind.", "Lima: 21 °C."),
    ],
)
def test_words_around_every_answer(client: openai.OpenAI, rule: str, answer: str) -> None:
    system = f"You are a helpful agent that provides weather updates. {rule}"
    assert Agent(client, [WEATHER]).run("Weather in Lima?", system, lambda **_: "21 °C") == answer


def test_answers_by_schema(client: openai.OpenAI) -> None:
    said: Any = user("kind: train. A trip for $300 in Rome 2 nights, in Oslo 3 nights")
    reply = client.chat.completions.parse(model="any", messages=said, response_format=Trip)
    trip = reply.choices[0].message.parsed
    assert trip is not None
    assert (trip.city, trip.amount, trip.kind, trip.approved) == ("Rome", 300, "train", True)
    assert [leg.city for leg in trip.legs] == ["Rome", "Oslo"]


def completed(client: openai.OpenAI, system: str, *said: str, **options: Any) -> str:
    messages: Any = [{"role": "system", "content": system}, *user(*said)]
    reply = client.chat.completions.create(model="any", messages=messages, **options)
    return str(reply.choices[0].message.content)


class Verdict(BaseModel):
    approved: bool
    feedback: str


VERDICT = {
    "type": "json_schema",
    "json_schema": {"name": "x", "schema": Verdict.model_json_schema()},
}
MEDICAL = "Respond with approved if the claim is medical, and not approved otherwise."


@pytest.mark.parametrize(
    ("system", "said", "approved", "feedback"),
    [
        (MEDICAL, '{"reason": "a bill of my dentist"}', True, "approved"),
        (MEDICAL, '{"reason": "no more than new tyres"}', False, "not approved"),
        ("You review code.", "def f(x):\n    return x", True, "Approved."),
        ("You review code. Has it type hints?", "def f(x: int) -> int: ...", True, "Approved."),
        (
            "You review code. Approve it if it has type hints and a docstring.",
            "It is not to be `no()`.\n\ndef f(x: int) -> int: ...",
            False,
            "Not approved: there is no docstring.",
        ),
        ("Be kind.", '{"approved": true}', True, NO_RULE),
    ],
)
def test_a_verdict_by_schema_is_the_one_in_words(
    client: openai.OpenAI, system: str, said: str, approved: bool, feedback: str
) -> None:
    verdict = Verdict.model_validate_json(completed(client, system, said, response_format=VERDICT))
    assert (verdict.approved, verdict.feedback) == (approved, feedback)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (["Write a function `area(width, height)`."], "def area(width, height):\n    ..."),
        (
            ["A function `now()` with a docstring"],
            'def now():\n    """An outline of now."""\n    ...',
        ),
        (
            ["I need a Python function called `f(x)`", "There is no type hint."],
            "def f(x: str) -> str:\n    ...",
        ),
        (["Write a function."], NO_RULE),
        (["What does `area(width, height)` do?"], NO_RULE),
    ],
)
def test_code_is_an_outline(client: openai.OpenAI, said: list[str], code: str) -> None:
    assert completed(client, "You write Python.", *said) == code


@pytest.mark.parametrize(
    ("said", "tasks"),
    [
        ("wind, sun and tides", ["wind", "sun", "tides"]),
        ("Bees; wasps, and ants.", ["Bees", "wasps", "ants"]),
        ("The history of tea", ["The history of tea"]),
        ('Do this: {"tasks": ["a, b", "c"]}', ["a, b", "c"]),
        ("", []),
    ],
)
def test_a_text_as_a_list(client: openai.OpenAI, said: str, tasks: list[str]) -> None:
    schema = {"properties": {"tasks": {"type": "array", "items": {"type": "string"}}}}
    wanted = {"name": "x", "schema": schema | {"type": "object", "required": ["tasks"]}}
    options = {"response_format": {"type": "json_schema", "json_schema": wanted}}
    assert json.loads(completed(client, "Plan.", said, **options)) == {"tasks": tasks}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, ""),
        ({"type": ["number", "null"]}, None),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, None),
        ({"enum": ["b", "a"]}, "b"),
        ({"const": 7}, 7),
        ({"const": "y", "type": "string", "description": "the text"}, "y"),
        ({"type": "boolean"}, False),
        ({"$ref": "#/$defs/Node"}, {"next": None}),
    ],
)
def test_neutral_values_by_schema(http: httpx.Client, schema: Any, value: Any) -> None:
    node = {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]}
    whole = {
        "type": "object",
        "properties": {"x": schema},
        "required": ["x"],
        "$defs": {"Node": {"type": "object", "properties": {"next": node}, "required": ["next"]}},
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": whole}}
    reply = http.post("/chat/completions", json=chat("Hmm.", response_format=wanted)).json()
    assert json.loads(reply["choices"][0]["message"]["content"]) == {"x": value}


def test_json_object(http: httpx.Client) -> None:
    body = chat("My name is Ada", response_format={"type": "json_object"})
    reply = http.post("/chat/completions", json=body).json()
    answer = {"answer": "Noted: your name is Ada."}
    assert json.loads(reply["choices"][0]["message"]["content"]) == answer


# --- the two APIs --------------------------------------------------------------------------


def test_chat_stream(client: openai.OpenAI) -> None:
    said: Any = user("My name is Ada")
    stream = client.chat.completions.create(
        model="any", messages=said, stream=True, stream_options={"include_usage": True}
    )
    *chunks, last = list(stream)
    words = [chunk.choices[0].delta.content or "" for chunk in chunks]
    assert "".join(words) == "Noted: your name is Ada."
    assert len(words) > 3
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert last.choices == []
    assert last.usage is not None
    assert all(chunk.usage is None for chunk in chunks)
    stream = client.chat.completions.create(model="any", messages=said, stream=True)
    assert all(chunk.choices and chunk.usage is None for chunk in stream)


def test_chat_stream_of_tool_calls(client: openai.OpenAI) -> None:
    said: Any = user("weather in Lagos and Oslo")
    tools: Any = [{"type": "function", "function": WEATHER}]
    with client.chat.completions.stream(model="any", messages=said, tools=tools) as stream:
        calls = stream.get_final_completion().choices[0].message.tool_calls or []
    assert [json.loads(call.function.arguments)["city"] for call in calls] == ["Lagos", "Oslo"]


def test_responses_round(client: openai.OpenAI) -> None:
    tools: Any = [{"type": "function", "strict": True, **WEATHER}]
    asked: Any = user("weather in Lagos")
    first = client.responses.create(model="any", input=asked, tools=tools, instructions="Be brief.")
    (call,) = first.output
    assert call.type == "function_call"
    assert json.loads(call.arguments) == {"city": "Lagos"}
    asked += [
        call.model_dump(exclude_none=True),
        {"type": "function_call_output", "call_id": call.call_id, "output": "23 °C"},
    ]
    second = client.responses.create(model="any", input=asked, tools=tools)
    assert second.output_text == "Lagos: 23 °C."
    assert second.usage is not None
    assert second.usage.total_tokens == second.usage.input_tokens + second.usage.output_tokens


def test_responses_parse(client: openai.OpenAI) -> None:
    leg = client.responses.parse(model="any", input="2 nights in Rome", text_format=Leg)
    assert leg.output_parsed == Leg(city="Rome", nights=2)


@pytest.mark.parametrize(
    ("prompt", "kind"), [("my name is Bo", "message"), ("weather in Lagos", "function_call")]
)
def test_responses_stream(client: openai.OpenAI, prompt: str, kind: str) -> None:
    tools: Any = [{"type": "function", "strict": True, **WEATHER}]
    whole = client.responses.create(model="any", input=prompt, tools=tools)
    with client.responses.stream(model="any", input=prompt, tools=tools) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert [event.sequence_number for event in events] == sorted(e.sequence_number for e in events)
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    assert [item.type for item in final.output] == [kind]
    assert final.output_text == whole.output_text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/chat/completions", chat("weather in Lagos")),
        ("/chat/completions", chat("my name is Ada", stream=True)),
        ("/responses", {"model": "any", "input": "my name is Ada"}),
        ("/responses", {"model": "any", "input": "my name is Ada", "stream": True}),
    ],
)
def test_same_request_same_bytes(http: httpx.Client, path: str, body: dict[str, Any]) -> None:
    first = http.post(path, json=body).content
    turned = dict(reversed([*body.items()]))
    assert http.post(path, json=turned).content == first
    assert http.post(path, json=body | {"model": "other"}).content != first


def test_models(client: openai.OpenAI) -> None:
    assert [each.id for each in client.models.list()] == ["offline-stand-in"]
    assert client.models.retrieve("gpt-4o").id == "offline-stand-in"


def test_time_stands_still(http: httpx.Client) -> None:
    reply = http.post("/chat/completions", json=chat("a")).json()
    assert reply["created"] == 1_750_000_000  # also in another process, on another day


def test_fields_it_does_not_know_are_ignored(http: httpx.Client) -> None:
    body = chat("my name is Ada", temperature=0.3, seed=1, something_new={"a": [1]})
    assert http.post("/chat/completions", json=body).status_code == HTTPStatus.OK


DEEP = "[" * 100_000
BAD_TOOL = {"type": "function", "name": "f", "parameters": {"items": []}}
PARTS = [{"type": "text", "text": "my name"}, {"type": "text", "text": " is Ada"}]
LOOSE = [
    *user("a"),
    {
        "role": "assistant",
        "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        ],
    },
]


def bad_schemas() -> Iterator[tuple[dict[str, Any], str]]:
    """Requests with a schema whose keywords have values of the wrong type."""
    for schema, within in [
        ({"type": []}, "type"),
        ({"type": {}}, "type"),
        ({"properties": None}, "properties"),
        ({"properties": {"a": True}}, "properties.a"),
        ({"properties": {"a": {"items": ["b"]}}}, "properties.a.items"),
        ({"required": 3}, "required"),
        ({"anyOf": [True]}, "anyOf.0"),
        ({"enum": []}, "enum"),
        ({"$ref": {}}, "$ref"),
        ({"$ref": "#/$defs/a", "$defs": []}, "$defs"),
        ({"$defs": {"a": 3}}, "$defs.a"),
    ]:
        function = {"name": "f", "parameters": schema}
        tools = [{"type": "function", "function": function}]
        yield chat("a", tools=tools), f"tools.0.function.parameters.{within}"
        named = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
        yield chat("a", response_format=named), f"response_format.json_schema.schema.{within}"


@pytest.mark.parametrize(
    ("target", "body", "status", "param"),
    [
        ("GET /nowhere", "", 404, None),
        ("GET /chat/completions", "", 405, None),
        ("POST /models", "", 405, None),
        ("POST /chat/completions", "{", 400, None),
        ("POST /chat/completions", "", 400, None),
        ("POST /chat/completions", DEEP, 400, None),
        ("POST /chat/completions", [], 400, None),
        ("POST /chat/completions", {"model": "any"}, 400, "messages"),
        ("POST /chat/completions", {"messages": user("a")}, 400, "model"),
        ("POST /chat/completions", chat("a", model=3), 400, "model"),
        ("POST /chat/completions", {"model": "any", "messages": []}, 400, "messages"),
        ("POST /chat/completions", {"model": "any", "messages": "a"}, 400, "messages"),
        ("POST /chat/completions", {"model": "any", "messages": [{}]}, 400, "messages.0.role"),
        ("POST /chat/completions", {"model": "any", "messages": LOOSE}, 400, "messages"),
        (
            "POST /chat/completions",
            chat("a", tools=[{"type": "function"}]),
            400,
            "tools.0.function",
        ),
        (
            "POST /chat/completions",
            chat("a", tool_choice={"type": "function", "function": {"name": "f"}}),
            400,
            "tool_choice",
        ),
        (
            "POST /chat/completions",
            chat("a", response_format={"type": "json_schema"}),
            400,
            "response_format",
        ),
        ("POST /responses", {"model": "any"}, 400, "input"),
        ("POST /responses", {"model": "any", "input": [3]}, 400, None),
        (
            "POST /responses",
            {"model": "any", "input": "a", "previous_response_id": "r"},
            400,
            "previous_response_id",
        ),
        (
            "POST /responses",
            {"model": "any", "input": "a", "tools": [{"type": "web_search"}]},
            400,
            None,
        ),
        *(("POST /chat/completions", body, 400, param) for body, param in bad_schemas()),
        (
            "POST /responses",
            {"model": "any", "input": "a", "tools": [BAD_TOOL]},
            400,
            "tools.0.function.parameters.items",
        ),
    ],
)
def test_refusals(
    http: httpx.Client, target: str, body: Any, status: int, param: str | None
) -> None:
    content = body if isinstance(body, str) else json.dumps(body)
    reply = http.request(*target.split(), content=content)
    assert reply.status_code == status
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert error["type"] == "invalid_request_error"
    if param is not None:
        assert error["param"].removesuffix(".str") == param


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer any"}])
def test_keys(http: httpx.Client, headers: dict[str, str]) -> None:
    reply = http.post("/chat/completions", json=chat("a"), headers=headers)
    assert reply.status_code == http.get("/models", headers=headers).status_code == 200


@pytest.mark.parametrize(("path", "status"), [("/models", 405), ("/nowhere", 404)])
def test_a_refusal_keeps_the_connection(model: OfflineModel, path: str, status: int) -> None:
    address = httpx.URL(model.url)
    connection = HTTPConnection(address.host, address.port or 0, timeout=20)
    connection.request("POST", f"/v1{path}", headers={"content-length": "2"})
    time.sleep(0.1)  # refused by now, were it not to wait for the body
    connection.send(b"{}")
    reply = connection.getresponse()
    assert (reply.status, "error" in json.loads(reply.read())) == (status, True)
    connection.auto_open = 0
    connection.request("GET", "/v1/models")
    assert connection.getresponse().read()
    connection.close()


@pytest.mark.parametrize("part", ["in Rome { ", "my a ", "more than ", "a, ", "respond with a or "])
def test_ten_times_the_text_takes_ten_times_the_work(http: httpx.Client, part: str) -> None:
    def work(size: int) -> float:
        """Return the seconds of computing, the model's and the client's, for so many bytes."""
        huge = part * (size // len(part))
        messages = [{"role": "system", "content": huge}, *user(huge, huge)]
        began = time.process_time()
        reply = http.post(
            "/chat/completions", json={"model": "any", "messages": messages}, timeout=50
        )
        assert reply.status_code == HTTPStatus.OK
        return time.process_time() - began

    assert work(5_000_000) < 25 * work(500_000)  # a hundred times, if it were quadratic


def test_parts_of_a_message_are_one_text(http: httpx.Client) -> None:
    body = {"model": "any", "messages": [{"role": "user", "content": PARTS}]}
    assert http.post("/chat/completions", json=body).status_code == HTTPStatus.OK


# --- counts and faults ---------------------------------------------------------------------


def test_counts(model: OfflineModel, client: openai.OpenAI) -> None:
    said: Any = user("weather in Lagos")
    first = client.chat.completions.create(model="any", messages=said).usage
    second = client.responses.create(model="any", input="a").usage
    assert first is not None
    assert second is not None
    assert model.calls == 2
    assert model.tokens == (
        first.prompt_tokens + second.input_tokens,
        first.completion_tokens + second.output_tokens,
    )
    assert model.tokens.total == first.total_tokens + second.total_tokens
    assert [request["model"] for request in model.requests] == ["any", "any"]
    assert model.requests[0]["messages"] == said
    client.models.list()
    assert model.calls == 2
    model.reset()
    assert (model.calls, model.tokens, model.requests) == (0, Tokens(0, 0), [])


def test_latency(model: OfflineModel, http: httpx.Client) -> None:
    model.latency = 0.3
    began = time.monotonic()
    http.post("/chat/completions", json=chat("a"))
    assert time.monotonic() - began >= 0.3
    model.reset()
    assert model.latency == 0


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ({"status": 429}, (openai.RateLimitError, 3)),
        ({"status": 500}, (openai.InternalServerError, 3)),
        ({}, (openai.InternalServerError, 3)),
        ({"status": 503}, (openai.InternalServerError, 3)),
        ({"status": 599}, (openai.InternalServerError, 3)),
        ({"status": 408}, (openai.APIStatusError, 3)),
        ({"status": 409}, (openai.ConflictError, 3)),
        ({"status": 401}, (openai.AuthenticationError, 1)),
        ({"status": 400}, (openai.BadRequestError, 1)),
        ({"status": 404}, (openai.NotFoundError, 1)),
        ({"kind": "timeout"}, (openai.APITimeoutError, 3)),
        ({"kind": "cut"}, (openai.APIConnectionError, 3)),
    ],
)
@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.usefixtures("quick_retries")
def test_faults(
    model: OfflineModel,
    client: openai.OpenAI,
    fault: dict[str, Any],
    outcome: tuple[type[Exception], int],
    api: str,
) -> None:
    raised, attempts = outcome
    model.fail(attempts, **fault)
    trying = client.with_options(max_retries=2, timeout=0.3 if "kind" in fault else 10)

    def ask() -> Any:
        if api == "chat":
            return trying.chat.completions.create(
                model="any", messages=[{"role": "user", "content": "a"}]
            )
        return trying.responses.create(model="any", input="a")

    with pytest.raises(raised) as caught:
        ask()
    assert type(caught.value) is raised
    assert model.calls == attempts
    if isinstance(caught.value, openai.APIStatusError):
        assert caught.value.status_code == fault.get("status", 500)
        assert "told to fail" in caught.value.message
    ask()
    assert model.calls == attempts + 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_cut_comes_in_mid_reply(model: OfflineModel, http: httpx.Client, stream: bool) -> None:
    model.fail(kind="cut")
    body, parts = chat("a", stream=stream), []
    with http.stream("POST", "/chat/completions", json=body) as reply:
        everything = reply.iter_bytes()
        parts.append(next(everything))
        with pytest.raises(httpx.RemoteProtocolError):
            parts += everything
    assert b"".join(parts).startswith(b"data: {" if stream else b"{")
    assert b"[DONE]" not in b"".join(parts)
    assert b'usage": {' not in b"".join(parts)
    assert model.tokens.total > 0  # it was written, and would be billed


def test_malformed(model: OfflineModel, client: openai.OpenAI) -> None:
    model.fail(kind="malformed")
    said: Any = user("a")
    assert isinstance(client.chat.completions.create(model="any", messages=said), str)


def test_faults_wait_in_line(model: OfflineModel, http: httpx.Client) -> None:
    model.fail(2, status=429, retry_after=1.5)
    model.fail(status=503)
    assert http.post("/chat/completions", json={}).status_code == 400  # uses up no fault
    replies = [http.post("/chat/completions", json=chat("a")) for _ in range(4)]
    assert [reply.status_code for reply in replies] == [429, 429, 503, 200]
    assert [reply.headers.get("retry-after") for reply in replies] == ["1.5", "1.5", None, None]
    assert model.calls == 5
    model.fail(5)
    model.reset()
    assert http.post("/chat/completions", json=chat("a")).status_code == 200


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"times": 0}, "times"),
        ({"times": -1}, "times"),
        ({"times": 1.5}, "times"),
        ({"times": True}, "times"),
        ({"status": 200}, "status"),
        ({"status": 600}, "status"),
        ({"status": "429"}, "status"),
        ({"retry_after": -1}, "retry_after"),
        ({"retry_after": float("nan")}, "retry_after"),
        ({"retry_after": "1"}, "retry_after"),
        ({"kind": "fire"}, "kind"),
        ({"kind": "cut", "status": 500}, "kind 'cut'"),
        ({"kind": "timeout", "retry_after": 1}, "kind 'timeout'"),
    ],
)
def test_faults_that_cannot_be(model: OfflineModel, arguments: Any, says: str) -> None:
    with pytest.raises(ValueError, match=f"^{says}"):
        model.fail(**arguments)


def test_start_and_stop() -> None:
    model = OfflineModel()
    with pytest.raises(TourError, match="not running"):
        _ = model.url
    model.stop()
    url = model.start()
    assert url == model.start() == model.url
    port = int(url.split(":")[2].split("/")[0])
    assert url == f"http://127.0.0.1:{port}/v1"
    with pytest.raises(OSError, match="Address already in use"):
        OfflineModel().start(port)
    model.stop()
    assert model.start(port) == url
    assert httpx.get(f"{url}/models").status_code == HTTPStatus.OK
    model.stop()


def test_stop_ends_a_reply_that_never_comes() -> None:
    model = OfflineModel()
    url = model.start()
    model.fail(kind="timeout")
    outcome = in_background(
        lambda: httpx.post(f"{url}/chat/completions", json=chat("a"), timeout=30)
    )
    wait_for(lambda: model.calls == 1)
    model.stop()
    assert isinstance(outcome(), httpx.RemoteProtocolError)


def test_never_prints(
    model: OfflineModel, http: httpx.Client, capfd: pytest.CaptureFixture[str]
) -> None:
    for kind in ("cut", "malformed", "status"):
        model.fail(kind=kind)
        with suppress(httpx.HTTPError):
            http.post("/chat/completions", json=chat("a"))
    http.get("/nowhere")
    assert capfd.readouterr() == ("", "")


# --- the thread ----------------------------------------------------------------------------


def in_background(work: Callable[[], Any]) -> Callable[[], Any]:
    """Start work in a thread; the result waits for what it returned or raised."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as problem:
            results.append(problem)

    thread = threading.Thread(target=run)
    thread.start()

    def outcome() -> Any:
        thread.join(20)
        return results[0]

    return outcome


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class App:
    """An app whose handlers are hard to stop; like Restate's, it knows no lifespan."""

    def __init__(self, word: str = "hello") -> None:
        self.word = word
        self.entered = threading.Event()
        self.released = threading.Event()
        self.stop_server: Callable[[], bool] = bool
        self.scopes: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope["type"])
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        await getattr(self, scope["path"][1:])(receive)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": self.word.encode()})

    async def answer(self, _receive: Any) -> None:
        return

    async def fail(self, _receive: Any) -> None:
        raise RuntimeError("a bug in a handler")

    async def sleep(self, _receive: Any) -> None:
        self.entered.set()
        await asyncio.sleep(60)

    async def listen(self, receive: Any) -> None:
        self.entered.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        self.released.set()

    async def swallow(self, _receive: Any) -> None:
        self.entered.set()
        for _ in range(3):
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(60)

    async def stop(self, _receive: Any) -> None:
        self.stop_server()

    async def block(self, _receive: Any) -> None:
        self.entered.set()
        self.released.wait(20)

    async def thread(self, _receive: Any) -> None:
        await asyncio.to_thread(self._block)

    def _block(self) -> None:
        self.entered.set()
        self.released.wait(20)


def serve_app(app: Any, port: int = 0) -> AsgiServer:
    return AsgiServer(app, LoopThread("test"), port)


def get(server: AsgiServer, path: str) -> str:
    return httpx.get(f"http://127.0.0.1:{server.port}/{path}", timeout=30).text


@pytest.mark.parametrize("path", ["sleep", "listen", "swallow", "block", "thread"])
def test_stop_with_a_request_in_flight(path: str, capfd: pytest.CaptureFixture[str]) -> None:
    app = App()
    server = serve_app(app)
    outcome = in_background(lambda: get(server, path))
    assert app.entered.wait(20)
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < 3
    assert not server.alive
    assert isinstance(outcome(), httpx.RemoteProtocolError)
    if path == "listen":
        assert app.released.is_set()
    again = serve_app(App("again"), server.port)
    assert get(again, "answer") == "again"
    again.stop()
    app.released.set()
    wait_for(server._running.done)
    gc.collect()  # what is still open warns here, and a warning fails the test
    assert capfd.readouterr() == ("", "")


def test_the_lifespan_protocol_is_answered_before_it_gets_to_the_app() -> None:
    app = App()
    server = serve_app(app)
    assert get(server, "answer") == "hello"
    assert app.scopes == ["http"]
    server.stop()


def test_a_handler_may_stop_its_own_server() -> None:
    app = App()
    server = serve_app(app)
    app.stop_server = server.stop
    with pytest.raises(httpx.RemoteProtocolError):
        get(server, "stop")
    wait_for(server._running.done)


def test_taken_port_raises_here() -> None:
    server = serve_app(App())
    with pytest.raises(OSError, match="Address already in use"):
        serve_app(App(), server.port)
    assert get(server, "answer") == "hello"
    server.stop()


def test_alive_and_stop_twice() -> None:
    server = serve_app(App())
    before = server.alive
    server.stop()
    assert (before, server.alive) == (True, False)
    server.stop()
    with pytest.raises(httpx.ConnectError):
        get(server, "answer")


def test_loopback_only() -> None:
    server = serve_app(App())
    assert server._listener.getsockname() == ("127.0.0.1", server.port)
    server.stop()


def test_small_writes_are_sent_at_once() -> None:
    server = serve_app(App())
    with httpx.Client() as client:  # keeps its connection, so that it can be looked at
        client.get(f"http://127.0.0.1:{server.port}/answer")
        (accepted,) = server._listener._accepted
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    server.stop()


def test_a_failing_handler_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    server = serve_app(App())
    assert httpx.get(f"http://127.0.0.1:{server.port}/fail").status_code == 500
    server.stop()
    assert capfd.readouterr() == ("", "")


def test_http2_without_being_asked() -> None:
    """The preface of HTTP/2 alone, as Restate sends it, gets HTTP/2's settings frame."""
    server = serve_app(App())
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
        header = connection.recv(9)
    assert header[3] == 4  # SETTINGS
    server.stop()


@pytest.mark.anyio
async def test_no_connection_ends_for_having_served_much() -> None:
    """Else an attempt in flight is cut: a step that is paid for runs again."""
    app = App("still here")
    server = serve_app(app)
    base = f"http://127.0.0.1:{server.port}"
    async with httpx.AsyncClient(base_url=base, http1=False, http2=True, timeout=30) as client:
        in_flight = asyncio.create_task(client.get("/thread"))
        assert await asyncio.to_thread(app.entered.wait, 20)
        for _ in range(11):
            await asyncio.gather(*(client.get("/answer") for _ in range(99)))
        app.released.set()
        assert (await in_flight).text == "still here"
    server.stop()


def test_a_model_that_nobody_asks_cannot_fail() -> None:
    with pytest.raises(TourError, match="not in use here"):
        OfflineModel().fail()
