"""OpenAI's two APIs as JSON: what comes in, what goes out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from hashlib import sha256
from typing import Literal

import pydantic
from pydantic import BaseModel, Field

from tour.offline_model.reading import Json
from tour.offline_model.rules import Call, Conversation, Reply, Tool

__all__ = ["CREATED", "MODEL", "ChatRequest", "ResponsesRequest", "used"]

MODEL = "offline-stand-in"
CREATED = 1_750_000_000  # the same at all times: the same request has the same reply


class _Part(BaseModel):
    text: str = ""


class _Name(BaseModel):
    name: str


class _Function(_Name):
    arguments: pydantic.Json[dict[str, Json]]


class _ToolCall(BaseModel):
    id: str
    function: _Function


class _Message(BaseModel):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[_Part] | None = None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content)
        return self.content or ""


class _Signature(BaseModel):
    name: str
    description: str | None = None
    parameters: dict[str, Json] | None = None


class _Tool(BaseModel):
    type: Literal["function"]
    function: _Signature


class _Named(BaseModel):
    type: Literal["function"]
    function: _Name


class _JsonSchema(BaseModel):
    schema_: dict[str, Json] = Field(alias="schema")


class _Format(BaseModel):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _JsonSchema | None = None

    @property
    def wanted(self) -> Json:
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError("response_format: a json_schema is missing")
        if self.type == "json_object":
            return {"properties": {"answer": {"type": "string"}}, "required": ["answer"]}
        return self.json_schema.schema_ if self.json_schema else None


class _StreamOptions(BaseModel):
    include_usage: bool = False


class ChatRequest(BaseModel):
    """The fields of a chat completion request that change the answer; others are ignored."""

    model: str = Field(min_length=1)
    messages: list[_Message] = Field(min_length=1)
    tools: list[_Tool] | None = None
    tool_choice: Literal["auto", "none", "required"] | _Named | None = None
    parallel_tool_calls: bool | None = None
    response_format: _Format | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None

    def conversation(self) -> Conversation:
        """The request as the rules see it; ValueError if its parts do not fit together."""
        choice = self.tool_choice
        named = choice.function.name if isinstance(choice, _Named) else choice or "auto"
        tools = [each.function for each in self.tools or []]
        if isinstance(choice, _Named) and named not in {tool.name for tool in tools}:
            raise ValueError(f"tool_choice: there is no tool named {named!r}")
        users = [place for place, each in enumerate(self.messages) if each.role == "user"]
        return Conversation(
            system="\n".join(m.text for m in self.messages if m.role in {"system", "developer"}),
            said=[self.messages[place].text for place in users],
            done=_answered(self.messages[users[-1] if users else 0 :]),
            tools=[Tool(t.name, t.description or "", t.parameters or {}) for t in tools],
            choice=named,
            parallel=self.parallel_tool_calls is not False,
            schema=self.response_format and self.response_format.wanted,
        )

    def written(self, body: Json, reply: Reply) -> Json:
        """The reply in this API's shape."""
        return _chat(body, reply)

    def events(self, whole: Json) -> Iterator[str]:
        """The written reply as server-sent events."""
        usage = self.stream_options is not None and self.stream_options.include_usage
        return _chat_chunks(whole, include_usage=usage)


def _answered(messages: list[_Message]) -> list[Call]:
    results = {each.tool_call_id: each.text for each in messages if each.role == "tool"}
    calls = [call for each in messages for call in each.tool_calls or []]
    open_calls = [call.id for call in calls if call.id not in results]
    if open_calls:
        raise ValueError(f"messages: no tool message answers the tool call {open_calls[0]!r}")
    return [Call(call.function.name, call.function.arguments, results[call.id]) for call in calls]


class ResponsesRequest(BaseModel):
    """The same for the responses API: it is read as the chat completion that it amounts to."""

    model: str = Field(min_length=1)
    input: str | list[dict[str, Json]] = Field(min_length=1)
    instructions: str | None = None
    tools: list[dict[str, Json]] | None = None
    tool_choice: str | dict[str, Json] | None = None
    parallel_tool_calls: bool | None = None
    text: dict[str, dict[str, Json] | str | None] | None = None
    stream: bool | None = None
    previous_response_id: str | None = None

    def conversation(self) -> Conversation:
        """The request as the rules see it; ValueError if its parts do not fit together."""
        if self.previous_response_id:
            raise ValueError("previous_response_id: nothing is stored here, send the whole input")
        items = (
            [{"role": "user", "content": self.input}] if isinstance(self.input, str) else self.input
        )
        shape, choice = (self.text or {}).get("format"), self.tool_choice
        chat = {
            "model": self.model,
            "messages": [
                {"role": "system", "content": self.instructions},
                *map(_as_message, items),
            ],
            "tools": [{"type": t.get("type"), "function": t} for t in self.tools or []],
            "tool_choice": {**choice, "function": choice} if isinstance(choice, dict) else choice,
            "parallel_tool_calls": self.parallel_tool_calls,
            "response_format": {**shape, "json_schema": shape}
            if isinstance(shape, dict) and "schema" in shape
            else shape,
        }
        return ChatRequest.model_validate(chat).conversation()

    def written(self, body: Json, reply: Reply) -> Json:
        """The reply in this API's shape."""
        return _response(body, reply)

    def events(self, whole: Json) -> Iterator[str]:
        """The written reply as server-sent events."""
        return _response_events(whole)


def _as_message(item: Json) -> Json:
    if item.get("type") == "function_call":
        call = {"id": item.get("call_id"), "function": item}
        return {"role": "assistant", "tool_calls": [call]}
    if item.get("type") == "function_call_output":
        return {"role": "tool", "tool_call_id": item.get("call_id"), "content": item.get("output")}
    return item


def _digest(body: Json) -> str:
    return sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:24]


def used(whole: Json) -> tuple[int, int]:
    """The tokens that a reply has read and written, in either API's words."""
    usage = whole["usage"]
    prompt = usage.get("prompt_tokens", usage.get("input_tokens"))
    return prompt, usage["total_tokens"] - prompt


def _tokens(*parts: Json) -> int:
    """Four characters are a token; nobody's tokeniser, but easy to check."""
    return sum(-(-len(json.dumps(part, ensure_ascii=False)) // 4) for part in parts if part)


def _chat(body: Json, reply: Reply) -> Json:
    """A chat completion."""
    digest = _digest(body)
    message: Json = {"role": "assistant", "content": reply.text or None, "refusal": None}
    calls = [
        {"id": f"call_{digest}_{n}", "type": "function", "function": _function(call)}
        for n, call in enumerate(reply.calls)
    ]
    if calls:
        message["tool_calls"] = calls
    reason = "tool_calls" if calls else "stop"
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
    prompt, completion = _tokens(body.get("messages"), body.get("tools")), _tokens(message)
    return {
        "id": f"chatcmpl-{digest}",
        "object": "chat.completion",
        "created": CREATED,
        "model": MODEL,
        "choices": [choice],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        },
    }


def _function(call: Call) -> Json:
    return {"name": call.tool, "arguments": json.dumps(call.arguments, ensure_ascii=False)}


def _chat_chunks(completion: Json, *, include_usage: bool) -> Iterator[str]:
    """A chat completion as server-sent events, word by word."""
    choice = completion["choices"][0]
    message, usage = choice["message"], completion["usage"]
    deltas: list[Json] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": word} for word in _words(message["content"])]
    calls = enumerate(message.get("tool_calls", []))
    deltas += [{"tool_calls": [{"index": n, **call}]} for n, call in calls]
    choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]})
    chunk = {**completion, "object": "chat.completion.chunk", "usage": None}
    for each in choices:
        yield f"data: {json.dumps({**chunk, 'choices': [each]})}\n\n"
    if include_usage:
        yield f"data: {json.dumps({**chunk, 'choices': [], 'usage': usage})}\n\n"
    yield "data: [DONE]\n\n"


def _words(text: str | None) -> list[str]:
    return re.findall(r"\s*\S+|\s+$", text or "")


def _response(body: Json, reply: Reply) -> Json:
    """A response of the responses API."""
    digest = _digest(body)
    content = {"type": "output_text", "text": reply.text, "annotations": [], "logprobs": []}
    message = {"id": f"msg_{digest}", "type": "message", "role": "assistant", "content": [content]}
    calls = [
        {"id": f"fc_{digest}_{n}", "type": "function_call", "call_id": f"call_{digest}_{n}"}
        | _function(call)
        for n, call in enumerate(reply.calls)
    ]
    output = [{**item, "status": "completed"} for item in calls or [message]]
    asked = _tokens(body.get("instructions"), body.get("input"), body.get("tools"))
    answered = _tokens(output)
    return {
        "id": f"resp_{digest}",
        "object": "response",
        "created_at": CREATED,
        "status": "completed",
        "model": MODEL,
        "output": output,
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "metadata": {},
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "usage": {
            "input_tokens": asked,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": answered,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": asked + answered,
        },
    }


def _response_events(whole: Json) -> Iterator[str]:
    """A response as server-sent events."""
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    events: list[tuple[str, Json]] = [
        ("response.created", {"response": begun}),
        ("response.in_progress", {"response": begun}),
    ]
    for place, item in enumerate(whole["output"]):
        empty: Json = {"content": []} if item["type"] == "message" else {"arguments": ""}
        begun_item = {**item, **empty, "status": "in_progress"}
        events.append(("response.output_item.added", {"output_index": place, "item": begun_item}))
        at = {"output_index": place, "item_id": item["id"]}
        events += [(name, {**at, **more}) for name, more in _item_events(item)]
        events.append(("response.output_item.done", {"output_index": place, "item": item}))
    events.append(("response.completed", {"response": whole}))
    for number, (name, fields) in enumerate(events):
        data = {"type": name, "sequence_number": number, **fields}
        yield f"event: {name}\ndata: {json.dumps(data)}\n\n"


def _item_events(item: Json) -> Iterator[tuple[str, Json]]:
    if item["type"] == "function_call":
        text, name = item["arguments"], item["name"]
        yield "response.function_call_arguments.delta", {"delta": text}
        yield "response.function_call_arguments.done", {"arguments": text, "name": name}
        return
    (part,) = item["content"]
    at = {"content_index": 0}
    yield "response.content_part.added", {**at, "part": {**part, "text": ""}}
    for word in _words(part["text"]):
        yield "response.output_text.delta", {**at, "delta": word, "logprobs": []}
    yield "response.output_text.done", {**at, "text": part["text"], "logprobs": []}
    yield "response.content_part.done", {**at, "part": part}
