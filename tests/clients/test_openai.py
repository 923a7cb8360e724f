"""The official client, in each version that there is an environment for."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

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


class GetWeather(BaseModel):
    """Get the current weather for a given city."""

    city: str


TOOL: Any = openai.pydantic_function_tool(GetWeather, name="get_weather")
RESPONSES_TOOL: Any = {"type": "function", **TOOL["function"]}
RESULTS = ["31 °C, sunny", "-4 °C, snow"]


@pytest.fixture
def client() -> Iterator[openai.OpenAI]:
    with openai.OpenAI() as client:
        yield client


# ---- chat completions


def chat(ask: Callable[..., Any], weather: Weather, question: str = QUESTION) -> Any:
    """Let the model call the tool until it answers; return its last message."""
    said: list[Any] = [{"role": "system", "content": RULES}, {"role": "user", "content": question}]
    for _ in range(4):
        message = ask(model=MODEL, messages=said, tools=[TOOL])
        said.append(message)
        if not message.tool_calls:
            return message
        for call in message.tool_calls:
            result = weather.get_weather(**json.loads(call.function.arguments))
            said.append({"role": "tool", "tool_call_id": call.id, "content": result})
    raise AssertionError("the model never came to an end")


def test_chat_with_parallel_tools(
    client: openai.OpenAI, model: OfflineModel, weather: Weather
) -> None:
    def ask(**request: Any) -> Any:
        return client.chat.completions.create(**request).choices[0].message

    assert chat(ask, weather).content == ANSWER
    assert weather.cities == ["Lagos", "Oslo"]
    asked = ["system", "user"]
    assert speakers(model) == [asked, [*asked, "assistant", "tool", "tool"]]
    assert tools(model) == [["get_weather"], ["get_weather"]]
    assert results(model) == RESULTS
    assert model.calls == 2


def test_chat_with_one_tool_at_a_time(
    client: openai.OpenAI, model: OfflineModel, weather: Weather
) -> None:
    def ask(**request: Any) -> Any:
        return (
            client.chat.completions.create(parallel_tool_calls=False, **request).choices[0].message
        )

    assert chat(ask, weather).content == ANSWER
    assert weather.cities == ["Lagos", "Oslo"]
    round_ = ["assistant", "tool"]
    asked = ["system", "user"]
    assert speakers(model) == [asked, [*asked, *round_], [*asked, *round_, *round_]]
    assert results(model) == RESULTS


def test_chat_with_structured_output(
    client: openai.OpenAI, model: OfflineModel, weather: Weather
) -> None:
    parsed = []

    def ask(**request: Any) -> Any:
        reply = client.chat.completions.parse(response_format=Report, **request)
        message = reply.choices[0].message
        parsed.extend([call.function.parsed_arguments for call in message.tool_calls or []])
        return message

    assert chat(ask, weather, "What is the weather in Lagos?").parsed == REPORT
    assert parsed == [GetWeather(city="Lagos")]
    assert weather.cities == ["Lagos"]
    assert results(model) == ["31 °C, sunny"]


def test_chat_as_a_stream(client: openai.OpenAI, model: OfflineModel, weather: Weather) -> None:
    words: list[str] = []

    def ask(**request: Any) -> Any:
        options: Any = {"include_usage": True}
        with client.chat.completions.stream(stream_options=options, **request) as stream:
            words.extend(event.delta for event in stream if event.type == "content.delta")
            final = stream.get_final_completion()
        assert final.usage is not None
        assert final.usage.total_tokens > 0
        return final.choices[0].message

    assert chat(ask, weather).content == ANSWER
    assert weather.cities == ["Lagos", "Oslo"]
    assert "".join(words) == ANSWER
    assert len(words) > 4
    assert results(model) == RESULTS
    assert [request["stream"] for request in model.requests] == [True, True]


@pytest.mark.anyio
async def test_chat_with_the_async_client(model: OfflineModel) -> None:
    async with openai.AsyncOpenAI() as client:
        said: list[Any] = [{"role": "user", "content": QUESTION}]
        reply = await client.chat.completions.create(model=MODEL, messages=said, tools=[TOOL])
        message = reply.choices[0].message
        called = [call.to_dict()["function"] for call in message.tool_calls or []]
        said += [message, *[answered(call.id) for call in message.tool_calls or []]]
        stream = await client.chat.completions.create(model=MODEL, messages=said, stream=True)
        words = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert called == [
        {"name": "get_weather", "arguments": json.dumps({"city": city})}
        for city in ("Lagos", "Oslo")
    ]
    assert "".join(words) == "Lagos: mild. Oslo: mild."
    assert results(model) == ["mild", "mild"]


def answered(call: str) -> Any:
    return {"role": "tool", "tool_call_id": call, "content": "mild"}


def test_a_tool_that_must_be_called_is(client: openai.OpenAI, model: OfflineModel) -> None:
    choice: Any = {"type": "function", "function": {"name": "get_weather"}}
    said: Any = [{"role": "user", "content": "Tell me about Lagos."}]
    reply = client.chat.completions.create(
        model=MODEL, messages=said, tools=[TOOL], tool_choice=choice
    )
    assert [call.to_dict()["function"] for call in reply.choices[0].message.tool_calls or []] == [
        {"name": "get_weather", "arguments": '{"city": "Lagos"}'}
    ]
    assert model.calls == 1


# ---- responses


def respond(ask: Callable[..., Any], weather: Weather, question: str = QUESTION) -> Any:
    """Let the model call the tool until it answers; return its last response."""
    said: list[Any] = [{"role": "user", "content": question}]
    for _ in range(4):
        response = ask(model=MODEL, input=said, instructions=RULES, tools=[RESPONSES_TOOL])
        calls = [item for item in response.output if item.type == "function_call"]
        if not calls:
            return response
        said += response.output
        for call in calls:
            result = weather.get_weather(**json.loads(call.arguments))
            output = {"type": "function_call_output", "call_id": call.call_id, "output": result}
            said.append(output)
    raise AssertionError("the model never came to an end")


def test_responses(client: openai.OpenAI, model: OfflineModel, weather: Weather) -> None:
    response = respond(client.responses.create, weather)
    assert response.output_text == ANSWER
    assert response.usage.total_tokens > 0
    assert weather.cities == ["Lagos", "Oslo"]
    calls, outputs = ["function_call"] * 2, ["function_call_output"] * 2
    assert speakers(model) == [["user"], ["user", *calls, *outputs]]
    assert tools(model) == [["get_weather"], ["get_weather"]]
    assert results(model) == RESULTS
    assert model.calls == 2


def test_responses_with_structured_output(
    client: openai.OpenAI, model: OfflineModel, weather: Weather
) -> None:
    def ask(**request: Any) -> Any:
        return client.responses.parse(text_format=Report, **request)

    response = respond(ask, weather, "What is the weather in Lagos?")
    assert response.output_parsed == REPORT
    assert weather.cities == ["Lagos"]
    assert results(model) == ["31 °C, sunny"]


def test_responses_as_a_stream(
    client: openai.OpenAI, model: OfflineModel, weather: Weather
) -> None:
    words: list[str] = []

    def ask(**request: Any) -> Any:
        with client.responses.stream(**request) as stream:
            words.extend(e.delta for e in stream if e.type == "response.output_text.delta")
            return stream.get_final_response()

    assert respond(ask, weather).output_text == ANSWER
    assert weather.cities == ["Lagos", "Oslo"]
    assert "".join(words) == ANSWER
    assert len(words) > 4
    assert results(model) == RESULTS
