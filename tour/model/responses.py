"""OpenAI's responses as JSON: the chat completions in other words."""

from __future__ import annotations

import json
from collections.abc import Iterator

from pydantic import BaseModel, Field

from tour.model.chat import CREATED, MODEL, ChatRequest, function, words
from tour.model.reading import Json
from tour.model.rules import Conversation, Reply

__all__ = ["ResponsesRequest"]


class ResponsesRequest(BaseModel):
    """The fields that change the answer; it is read as the chat that it amounts to."""

    model: str = Field(min_length=1)
    input: str | list[dict[str, Json]] = Field(min_length=1)
    instructions: str | None = None
    tools: list[dict[str, Json]] | None = None
    tool_choice: str | dict[str, Json] | None = None
    parallel_tool_calls: bool | None = None
    text: dict[str, Json] | None = None
    stream: bool | None = None
    previous_response_id: str | None = None

    def conversation(self) -> Conversation:
        """The request as the rules see it; ValueError if its parts do not fit together."""
        if self.previous_response_id:
            raise ValueError("previous_response_id: nothing is stored here, send the whole input")
        said = self.input if isinstance(self.input, list) else [_message("user", self.input)]
        choice, shape = self.tool_choice, (self.text or {}).get("format")
        chat = {
            "model": self.model,
            "messages": [_message("system", self.instructions), *map(_as_message, said)],
            "tools": [{"type": each.get("type"), "function": each} for each in self.tools or []],
            "tool_choice": {**choice, "function": choice} if isinstance(choice, dict) else choice,
            "parallel_tool_calls": self.parallel_tool_calls,
            "response_format": {**shape, "json_schema": shape}
            if isinstance(shape, dict)
            else shape,
        }
        return ChatRequest.model_validate(chat).conversation()

    def written(self, id_: str, reply: Reply, prompt: int, completion: int) -> Json:
        """The reply in this API's shape, with the tokens that it has read and written."""
        content = {"type": "output_text", "text": reply.text, "annotations": []}
        message = {"type": "message", "id": f"msg_{id_}", "role": "assistant", "content": [content]}
        calls = [
            {"type": "function_call", "id": f"fc_{id_}_{n}", "call_id": f"call_{id_}_{n}", **call}
            for n, call in enumerate(map(function, reply.calls))
        ]
        return {
            "id": f"resp_{id_}",
            "object": "response",
            "created_at": CREATED,
            "status": "completed",
            "model": MODEL,
            "output": [{**item, "status": "completed"} for item in calls or [message]],
            "parallel_tool_calls": self.parallel_tool_calls is not False,
            "tool_choice": self.tool_choice or "auto",
            "tools": self.tools or [],
            "usage": _usage(prompt, completion),
        }

    def events(self, whole: Json) -> Iterator[str]:
        """The written reply as server-sent events, word by word."""
        begun = {**whole, "status": "in_progress", "output": [], "usage": None}
        events: list[Json] = [{"type": "response.created", "response": begun}]
        for place, item in enumerate(whole["output"]):
            at = {"output_index": place, "item_id": item["id"]}
            events += [{**event, **at} for event in _item_events(item)]
        events.append({"type": "response.completed", "response": whole})
        for number, event in enumerate(events):
            data = json.dumps({**event, "sequence_number": number})
            yield f"event: {event['type']}\ndata: {data}\n\n"


def _usage(prompt: int, completion: int) -> Json:
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt + completion,
    }


def _message(role: str, text: str | None) -> Json:
    return {"role": role, "content": text}


def _as_message(item: Json) -> Json:
    if item.get("type") == "function_call":
        call = {"id": item.get("call_id"), "function": item}
        return {"role": "assistant", "tool_calls": [call]}
    if item.get("type") == "function_call_output":
        return {"role": "tool", "tool_call_id": item.get("call_id"), "content": item.get("output")}
    return item


def _item_events(item: Json) -> Iterator[Json]:
    is_call = item["type"] == "function_call"
    empty: Json = {"arguments": ""} if is_call else {"content": []}
    started = {**item, **empty, "status": "in_progress"}
    yield {"type": "response.output_item.added", "item": started}
    if is_call:
        text, kind = item["arguments"], "response.function_call_arguments"
        yield {"type": f"{kind}.delta", "delta": text}
        yield {"type": f"{kind}.done", "arguments": text, "name": item["name"]}
    else:
        (part,), at = item["content"], {"content_index": 0, "logprobs": []}
        text, kind = part["text"], "response.output_text"
        yield {"type": "response.content_part.added", "part": {**part, "text": ""}, **at}
        for word in words(text):
            yield {"type": f"{kind}.delta", "delta": word, **at}
        yield {"type": f"{kind}.done", "text": text, **at}
        yield {"type": "response.content_part.done", "part": part, **at}
    yield {"type": "response.output_item.done", "item": item}
