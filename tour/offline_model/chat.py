"""OpenAI's chat completions as JSON: what comes in, what goes out."""

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

__all__ = ["CREATED", "MODEL", "ChatRequest", "digest", "function", "tokens", "used", "words"]

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


def digest(body: Json) -> str:
    """What makes the ids of a reply: the same for the same request."""
    return sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:24]


def used(whole: Json) -> tuple[int, int]:
    """The tokens that a reply has read and written, in either API's words."""
    usage = whole["usage"]
    prompt = usage.get("prompt_tokens", usage.get("input_tokens"))
    return prompt, usage["total_tokens"] - prompt


def tokens(*parts: Json) -> int:
    """Four characters are a token; nobody's tokeniser, but easy to check."""
    return sum(-(-len(json.dumps(part, ensure_ascii=False)) // 4) for part in parts if part)


def _chat(body: Json, reply: Reply) -> Json:
    """A chat completion."""
    id_ = digest(body)
    message: Json = {"role": "assistant", "content": reply.text or None, "refusal": None}
    calls = [
        {"id": f"call_{id_}_{n}", "type": "function", "function": function(call)}
        for n, call in enumerate(reply.calls)
    ]
    if calls:
        message["tool_calls"] = calls
    reason = "tool_calls" if calls else "stop"
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
    prompt, completion = tokens(body.get("messages"), body.get("tools")), tokens(message)
    return {
        "id": f"chatcmpl-{id_}",
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


def function(call: Call) -> Json:
    """A call's name and arguments, as both APIs have them."""
    return {"name": call.tool, "arguments": json.dumps(call.arguments, ensure_ascii=False)}


def _chat_chunks(completion: Json, *, include_usage: bool) -> Iterator[str]:
    """A chat completion as server-sent events, word by word."""
    choice = completion["choices"][0]
    message, usage = choice["message"], completion["usage"]
    deltas: list[Json] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": word} for word in words(message["content"])]
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


def words(text: str | None) -> list[str]:
    """The pieces in which a text is streamed."""
    return re.findall(r"\s*\S+|\s+$", text or "")
