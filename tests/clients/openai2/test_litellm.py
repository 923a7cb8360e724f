"""litellm, which also speaks for OpenAI's servers in Anthropic's words."""

import json
from collections.abc import Callable
from typing import Any

import litellm
import pytest
from litellm.anthropic_interface import messages as anthropic

from tests.clients.talks import (
    ANSWER,
    MODEL,
    QUESTION,
    REPORT,
    RULES,
    Report,
    Weather,
    results,
    speakers,
    tools,
)
from tour.model import OfflineModel

NAMED = f"openai/{MODEL}"
FUNCTION = {
    "name": "get_weather",
    "description": "Get the current weather for a given city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
TOOL = {"type": "function", "function": FUNCTION}
RESULTS = ["31 °C, sunny", "-4 °C, snow"]


def chat(ask: Callable[..., Any], weather: Weather, question: str = QUESTION) -> str:
    """Let the model call the tool until it answers; return its answer."""
    said: list[Any] = [{"role": "system", "content": RULES}, {"role": "user", "content": question}]
    for _ in range(4):
        message = ask(model=NAMED, messages=said, tools=[TOOL]).choices[0].message
        said.append(message)
        if not message.tool_calls:
            return str(message.content)
        for call in message.tool_calls:
            result = weather.get_weather(**json.loads(call.function.arguments))
            said.append({"role": "tool", "tool_call_id": call.id, "content": result})
    raise AssertionError("the model never came to an end")


def test_a_conversation(model: OfflineModel, weather: Weather) -> None:
    assert chat(litellm.completion, weather) == ANSWER
    assert weather.cities == ["Lagos", "Oslo"]
    assert speakers(model)[-1] == ["system", "user", "assistant", "tool", "tool"]
    assert tools(model) == [["get_weather"]] * 2
    assert results(model) == RESULTS
    assert model.calls == 2


def test_a_stream(model: OfflineModel, weather: Weather) -> None:
    pieces: list[int] = []

    def ask(**request: Any) -> Any:
        stream = list(litellm.completion(stream=True, **request))
        pieces.append(len(stream))
        return litellm.stream_chunk_builder(stream)

    assert chat(ask, weather) == ANSWER
    assert weather.cities == ["Lagos", "Oslo"]
    assert pieces[-1] > 4
    assert results(model) == RESULTS


def test_an_answer_with_a_shape(model: OfflineModel, weather: Weather) -> None:
    def ask(**request: Any) -> Any:
        return litellm.completion(response_format=Report, **request)

    answer = chat(ask, weather, "What is the weather in Lagos?")
    assert Report.model_validate_json(answer) == REPORT
    assert weather.cities == ["Lagos"]
    assert results(model) == ["31 °C, sunny"]


def test_responses(model: OfflineModel, weather: Weather) -> None:
    request: dict[str, Any] = {"model": NAMED, "tools": [{"type": "function", **FUNCTION}]}
    said: list[Any] = [{"role": "user", "content": QUESTION}]
    asked: Any = litellm.responses(input=said, **request)
    for call in asked.output:
        result = weather.get_weather(**json.loads(call.arguments))
        output = {"type": "function_call_output", "call_id": call.call_id, "output": result}
        said += [call.model_dump(), output]
    answered: Any = litellm.responses(input=said, **request)
    assert answered.output_text == ANSWER
    assert weather.cities == ["Lagos", "Oslo"]
    assert results(model) == RESULTS


@pytest.mark.anyio
async def test_in_anthropic_s_words(model: OfflineModel, weather: Weather) -> None:
    tool = {"name": "get_weather", "description": FUNCTION["description"]}
    request: dict[str, Any] = {
        "model": NAMED,
        "max_tokens": 100,
        "tools": [{**tool, "input_schema": FUNCTION["parameters"]}],
    }
    said: list[Any] = [{"role": "user", "content": QUESTION}]
    reply: Any = await anthropic.acreate(messages=said, **request)
    assert reply["stop_reason"] == "tool_use"
    answers = [
        {
            "type": "tool_result",
            "tool_use_id": use["id"],
            "content": weather.get_weather(**use["input"]),
        }
        for use in reply["content"]
    ]
    said += [
        {"role": "assistant", "content": reply["content"]},
        {"role": "user", "content": answers},
    ]
    reply = await anthropic.acreate(messages=said, **request)
    assert [block["text"] for block in reply["content"]] == [ANSWER]
    assert weather.cities == ["Lagos", "Oslo"]
    assert results(model) == RESULTS
