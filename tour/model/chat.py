"""OpenAI's chat completions as JSON: what comes in, what goes out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Literal

import pydantic
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from tour.model.reading import Json, Schema
from tour.model.rules import Call, Conversation, Reply, Tool

__all__ = ["CREATED", "MODEL", "ChatRequest", "function", "words"]

MODEL = "offline-stand-in"
CREATED = 1_750_000_000  # the same at all times: the same request has the same reply


class _Function(BaseModel):
    name: str
    arguments: pydantic.Json[dict[str, Json]]


class _ToolCall(BaseModel):
    id: str
    function: _Function


class _Message(BaseModel):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[dict[str, Json]] | None = None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            return "\n".join(str(part.get("text", "")) for part in self.content)
        return self.content or ""


class _Tool(BaseModel):
    type: Literal["function"]
    function: Tool


class _Shape(TypedDict, total=False):
    schema: Schema


class _Format(BaseModel):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _Shape = {}

    def schema_of_answer(self) -> Json:
        if self.type == "json_object":
            return {"properties": {"answer": {"type": "string"}}, "required": ["answer"]}
        if self.type == "json_schema" and not isinstance(self.json_schema.get("schema"), dict):
            raise ValueError("response_format: a json_schema is missing")
        return self.json_schema.get("schema")


class ChatRequest(BaseModel):
    """The fields of a chat completion request that change the answer; others are ignored."""

    model: str = Field(min_length=1)
    messages: list[_Message] = Field(min_length=1)
    tools: list[_Tool] | None = None
    tool_choice: Literal["auto", "none", "required"] | _Tool | None = None
    parallel_tool_calls: bool | None = None
    response_format: _Format | None = None
    stream: bool | None = None
    stream_options: dict[str, Json] | None = None

    def conversation(self) -> Conversation:
        """The request as the rules see it; ValueError if its parts do not fit together."""
        tools = [each.function for each in self.tools or []]
        choice = self.tool_choice
        name = choice.function.name if isinstance(choice, _Tool) else choice or "auto"
        if isinstance(choice, _Tool) and name not in {tool.name for tool in tools}:
            raise ValueError(f"tool_choice: there is no tool named {name!r}")
        users = [place for place, each in enumerate(self.messages) if each.role == "user"]
        return Conversation(
            system="\n".join(m.text for m in self.messages if m.role in {"system", "developer"}),
            said=[self.messages[place].text for place in users],
            done=_answered(self.messages[users[-1] if users else 0 :]),
            tools=tools,
            choice=name,
            parallel=self.parallel_tool_calls is not False,
            schema=self.response_format and self.response_format.schema_of_answer(),
        )

    def written(self, id_: str, reply: Reply, prompt: int, completion: int) -> Json:
        """The reply in this API's shape, with the tokens that it has read and written."""
        message: Json = {"role": "assistant", "content": reply.text or None, "refusal": None}
        if reply.calls:
            message["tool_calls"] = [
                {"id": f"call_{id_}_{n}", "type": "function", "function": function(call)}
                for n, call in enumerate(reply.calls)
            ]
        reason = "tool_calls" if reply.calls else "stop"
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
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

    def events(self, whole: Json) -> Iterator[str]:
        """The written reply as server-sent events, word by word."""
        choice, chunk = whole["choices"][0], whole | {"object": "chat.completion.chunk"}
        message, usage = choice["message"], chunk.pop("usage")
        deltas: list[Json] = [{"role": "assistant", "content": ""}]
        deltas += [{"content": word} for word in words(message["content"] or "")]
        calls = enumerate(message.get("tool_calls", []))
        deltas += [{"tool_calls": [{"index": n, **call}]} for n, call in calls]
        choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
        choices.append({"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]})
        chunks = [{**chunk, "choices": [each]} for each in choices]
        if (self.stream_options or {}).get("include_usage"):
            chunks.append({**chunk, "choices": [], "usage": usage})
        for data in [*map(json.dumps, chunks), "[DONE]"]:
            yield f"data: {data}\n\n"


def _answered(messages: list[_Message]) -> list[Call]:
    results = {each.tool_call_id: each.text for each in messages if each.role == "tool"}
    calls = [call for each in messages for call in each.tool_calls or []]
    open_calls = [call.id for call in calls if call.id not in results]
    if open_calls:
        raise ValueError(f"messages: no tool message answers the tool call {open_calls[0]!r}")
    return [Call(call.function.name, call.function.arguments, results[call.id]) for call in calls]


def function(call: Call) -> Json:
    """A call's name and arguments, as both APIs have them."""
    return {"name": call.tool, "arguments": json.dumps(call.arguments, ensure_ascii=False)}


def words(text: str) -> list[str]:
    """The pieces in which a text is streamed."""
    return re.findall(r"\s*\S+|\s+$", text)
