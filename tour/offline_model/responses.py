"""OpenAI's responses as JSON: what comes in, what goes out."""

from __future__ import annotations

import json
from collections.abc import Iterator

from pydantic import BaseModel, Field

from tour.offline_model.chat import CREATED, MODEL, ChatRequest, digest, function, tokens, words
from tour.offline_model.reading import Json
from tour.offline_model.rules import Conversation, Reply

__all__ = ["ResponsesRequest"]


class ResponsesRequest(BaseModel):
    """The fields that change the answer; it is read as the chat that it amounts to."""

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


def _response(body: Json, reply: Reply) -> Json:
    """A response of the responses API."""
    id_ = digest(body)
    content = {"type": "output_text", "text": reply.text, "annotations": [], "logprobs": []}
    message = {"id": f"msg_{id_}", "type": "message", "role": "assistant", "content": [content]}
    calls = [
        {"id": f"fc_{id_}_{n}", "type": "function_call", "call_id": f"call_{id_}_{n}"}
        | function(call)
        for n, call in enumerate(reply.calls)
    ]
    output = [{**item, "status": "completed"} for item in calls or [message]]
    asked = tokens(body.get("instructions"), body.get("input"), body.get("tools"))
    answered = tokens(output)
    return {
        "id": f"resp_{id_}",
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
    for word in words(part["text"]):
        yield "response.output_text.delta", {**at, "delta": word, "logprobs": []}
    yield "response.output_text.done", {**at, "text": part["text"], "logprobs": []}
    yield "response.content_part.done", {**at, "part": part}
