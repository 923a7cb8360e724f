"""Bad input for the stand-in for a model: by the `openai` package's own types, and worse."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random
from typing import Any

import httpx
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion
from openai.types.chat.completion_create_params import CompletionCreateParams
from openai.types.responses import Response
from openai.types.responses.response_create_params import ResponseCreateParams
from pydantic import TypeAdapter, ValidationError

from tests.campaigns.bad_requests import (
    JSON,
    OWN_BODIES,
    Client,
    NoAnswer,
    Request,
    by_field,
    drawn,
    generated,
    operations,
)
from tests.campaigns.findings import Row

__all__ = ["fuzz"]

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
PARAMS: dict[str, Any] = {CHAT: CompletionCreateParams, RESPONSES: ResponseCreateParams}
REPLIES: dict[str, TypeAdapter[Any]] = {
    CHAT: TypeAdapter(ChatCompletion),
    RESPONSES: TypeAdapter(Response),
}
SAID = [{"role": "user", "content": "What is the weather like in Oslo?"}]
GOOD: dict[str, dict[str, Any]] = {
    CHAT: {"model": "any", "messages": SAID},
    RESPONSES: {"model": "any", "input": SAID},
}
# What has an influence on the reply; of the rest the stand-in takes no notice.
READ = {
    "model",
    "messages",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "stream",
    "stream_options",
    "input",
    "instructions",
    "text",
    "previous_response_id",
}


def fuzz(url: str, cases: int, seed: int) -> list[Row]:
    """Send bad input to all routes of the stand-in at this base URL, and judge the replies."""
    base = url.removesuffix("/v1")
    rows = []
    with Client(base) as client:
        for route, requests in _requests(cases, seed).items():
            rows.append(Row(f"model {route}", base))
            for request in requests:
                _judge(rows[-1], request, client)
    return rows


def _judge(row: Row, request: Request, client: Client) -> None:
    try:
        reply = client.send(request)
    except NoAnswer as error:
        row.find(f"no answer: {error}", request)
        return
    if wrong := _wrong(request, reply):
        row.find(wrong, request)
    else:
        row.counts[f"{reply.status_code // 100}xx"] += 1


def _requests(cases: int, seed: int) -> dict[str, Iterator[Request]]:
    """The requests to each route."""
    return {
        **{path: _completions(path, cases, seed) for path in PARAMS},
        "/v1/models and what is not there": _elsewhere(cases, seed),
    }


def _completions(path: str, cases: int, seed: int) -> Iterator[Request]:
    schema = TypeAdapter(PARAMS[path]).json_schema(ref_template="#/components/schemas/{model}")
    schemas = schema.pop("$defs")
    variants = [_read(schemas[each["$ref"].rpartition("/")[2]]) for each in schema["anyOf"]]
    content = {"application/json": {"schema": {"anyOf": variants}}}
    post = {"requestBody": {"required": True, "content": content}, "responses": {}}
    document = {
        "openapi": "3.1.0",
        "info": {"title": "OpenAI", "version": "1"},
        "paths": {path: {"post": post}},
        "components": {"schemas": schemas},
    }
    (operation,) = operations(document)
    yield from generated(operation, cases, seed)
    for body in drawn(_BODIES[path], cases, seed):
        yield Request("POST", path, JSON, json.dumps(body).encode())
    own = [*OWN_BODIES, *by_field(variants[0], GOOD[path])]
    for request in Random(seed).sample(own, min(cases, len(own))):
        yield replace(request, method="POST", path=path)


def _read(schema: dict[str, Any]) -> dict[str, Any]:
    fields = {name: each for name, each in schema["properties"].items() if name in READ}
    return {**schema, "properties": fields}


def _elsewhere(cases: int, seed: int) -> Iterator[Request]:
    methods = st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"])
    starts = st.sampled_from(
        ["/", "/v1/", "/v1/models/", "/v1/models", CHAT, f"{RESPONSES}/", "//"]
    )
    ends = st.text("abc/.%20FfZ?#&=;:@", max_size=12).map(lambda end: end.replace("#", "%23"))
    for method, start, end in drawn(st.tuples(methods, starts, ends), cases, seed):
        yield Request(method, start + end)


def _wrong(request: Request, reply: httpx.Response) -> str:
    """Why a reply is none that OpenAI's API gives; nothing if it is one."""
    said = f"{reply.status_code} {reply.text[:300]}"
    if reply.is_server_error:
        return f"a failure of the server: {said}"
    if reply.is_client_error:
        return "" if request.method == "HEAD" or _is_error(reply) else f"not OpenAI's words: {said}"
    if request.path not in REPLIES or not reply.is_success:
        return ""
    try:
        REPLIES[request.path].validate_json(_whole(request.path, reply), strict=True)
    except (ValidationError, ValueError, KeyError) as error:
        return f"no reply in OpenAI's form: {error} {said}"
    return ""


def _is_error(reply: httpx.Response) -> bool:
    try:
        error = reply.json()["error"]
        types = {name: type(value) for name, value in error.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    texts = ("message", "type")
    maybe = ("param", "code")
    return (
        [*types] == [*texts, *maybe]
        and all(types[name] is str for name in texts)
        and all(types[name] in {str, type(None)} for name in maybe)
        and bool(error["message"])
    )


def _whole(path: str, reply: httpx.Response) -> str:
    """The reply as one object, also where it came as a stream."""
    if "event-stream" not in reply.headers["content-type"]:
        return reply.text
    data = [line.removeprefix("data: ") for line in reply.text.splitlines() if line[:6] == "data: "]
    if path == RESPONSES:
        return json.dumps(json.loads(data[-1])["response"])
    if data.pop() != "[DONE]":
        raise ValueError("the stream has no end")
    first = json.loads(data[0])
    message = {"role": "assistant", "content": None}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return json.dumps({**first, "object": "chat.completion", "choices": [choice]})


# ---- bodies that are nearly right, and reach the rules behind the types

WORDS = [
    "What is the weather in Oslo and Rome?", "more than 1000", "$1,000", "3000 USD", "{", "}",
    '{"amount": 7}', '{"a": [1, {"b": null}]}', "my name is Ada", "What is my name?", "in ", "NaN",
    "What did I say first?", "respond with a or b", "sentiment: good", "Summarize: a. b.", "1e999",
    "begin with 'x'", "error: ", "false", "fraud", ": ", "-", "9" * 400, "\u0000",
    "İ", "ß", "\ud83d",
]  # fmt: skip
NAMES = ["city", "cities", "amount", "date", "user_id", "answer", "approved", "reason", "", "$ref"]

_texts = st.lists(st.sampled_from(WORDS) | st.text(max_size=8), max_size=5).map("".join)
_names = st.sampled_from(NAMES) | st.text(max_size=5)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=3),
    max_leaves=6,
)
_kinds = st.sampled_from(["string", "integer", "number", "boolean", "array", "object", "null", "x"])


def _schema_of(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A JSON schema, each of whose keywords may be there, and mostly has a fitting value."""
    keywords = {
        "type": _kinds | st.lists(_kinds, max_size=3) | _json,
        "properties": st.dictionaries(_names, inner, max_size=3) | _json,
        "required": st.lists(_names, max_size=3) | _json,
        "items": inner | st.lists(inner, max_size=2),
        "anyOf": st.lists(inner, max_size=3) | _json,
        "enum": st.lists(_json, max_size=3) | _json,
        "const": _json,
        "$ref": st.sampled_from(["#/$defs/a", "#/$defs/nobody", "#"]) | _json,
        "$defs": st.fixed_dictionaries({"a": inner}) | _json,
        "description": _texts | _json,
        "format": st.just("date") | _json,
    }
    return st.fixed_dictionaries({}, optional=keywords)


_schemas = st.recursive(_schema_of(st.booleans() | _json), _schema_of, max_leaves=4)
_functions = st.fixed_dictionaries(
    {"name": _names}, optional={"description": _texts, "parameters": _schemas}
)
_arguments = st.dictionaries(_names, _json, max_size=3).map(json.dumps)
_contents = _texts | _json.map(json.dumps)
_parts = st.lists(st.fixed_dictionaries({"type": _texts, "text": _json}), max_size=2)
_roles = st.sampled_from(["user", "user", "system", "developer", "assistant"])
_messages = st.builds(
    lambda role, content: [{"role": role, "content": content}], _roles, _contents | _parts
)


def _talk(answered: Callable[[str, str, str], list[Any]]) -> st.SearchStrategy[Any]:
    """Messages, among them calls of tools with their results."""
    rounds = st.lists(
        _messages | st.builds(answered, _names, _arguments, _contents), min_size=1, max_size=4
    )
    return rounds.map(lambda lists: [message for each in lists for message in each])


def _chat_round(name: str, arguments: str, result: str) -> list[Any]:
    call = {"id": "c", "type": "function", "function": {"name": name, "arguments": arguments}}
    return [
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": result},
    ]


def _responses_round(name: str, arguments: str, result: str) -> list[Any]:
    call = {"type": "function_call", "call_id": "c", "name": name, "arguments": arguments}
    return [call, {"type": "function_call_output", "call_id": "c", "output": result}]


_choices = st.sampled_from(["auto", "none", "required"])
_formats = st.builds(lambda name, schema: {"name": name, "schema": schema}, _names, _schemas)
_BODIES: dict[str, st.SearchStrategy[Any]] = {
    CHAT: st.fixed_dictionaries(
        {"model": st.just("any"), "messages": _talk(_chat_round)},
        optional={
            "tools": st.lists(
                _functions.map(lambda each: {"type": "function", "function": each}), max_size=3
            ),
            "tool_choice": _choices,
            "response_format": _formats.map(
                lambda each: {"type": "json_schema", "json_schema": each}
            ),
            "stream": st.booleans(),
            "stream_options": st.just({"include_usage": True}),
            "parallel_tool_calls": st.booleans(),
        },
    ),
    RESPONSES: st.fixed_dictionaries(
        {"model": st.just("any"), "input": _contents | _talk(_responses_round)},
        optional={
            "instructions": _texts,
            "tools": st.lists(
                _functions.map(lambda each: {"type": "function", **each}), max_size=3
            ),
            "tool_choice": _choices,
            "text": _formats.map(lambda each: {"format": {"type": "json_schema", **each}}),
            "stream": st.booleans(),
            "parallel_tool_calls": st.booleans(),
        },
    ),
}
