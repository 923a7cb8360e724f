"""pydantic-ai, over both of OpenAI's APIs."""

from typing import Any

import pytest
from pydantic_ai import Agent, NativeOutput, ToolOutput

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

pytestmark = pytest.mark.anyio

APIS = {
    "openai-chat": ["system", "user", "assistant", "tool", "tool"],
    "openai-responses": ["user", *["function_call"] * 2, *["function_call_output"] * 2],
}
SHAPES: dict[str, Any] = {"by a tool": ToolOutput(Report), "by a schema": NativeOutput(Report)}


@pytest.mark.parametrize("api", APIS)
async def test_a_conversation(api: str, model: OfflineModel, weather: Weather) -> None:
    agent = Agent(f"{api}:{MODEL}", instructions=RULES, tools=[weather.get_weather])
    run = await agent.run(QUESTION)
    assert run.output == ANSWER
    assert sorted(weather.cities) == ["Lagos", "Oslo"]
    assert speakers(model)[-1] == APIS[api]
    assert tools(model) == [["get_weather"]] * 2
    assert results(model) == ["31 °C, sunny", "-4 °C, snow"]
    assert (run.usage.requests, run.usage.tool_calls, model.calls) == (2, 2, 2)


@pytest.mark.parametrize("api", APIS)
async def test_a_stream(api: str, model: OfflineModel, weather: Weather) -> None:
    agent = Agent(f"{api}:{MODEL}", instructions=RULES, tools=[weather.get_weather])
    async with agent.run_stream(QUESTION) as run:
        words = [word async for word in run.stream_text(delta=True, debounce_by=None)]
    assert "".join(words) == ANSWER
    assert len(words) > 4
    assert sorted(weather.cities) == ["Lagos", "Oslo"]
    assert results(model) == ["31 °C, sunny", "-4 °C, snow"]


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("shape", SHAPES)
async def test_an_answer_with_a_shape(
    api: str, shape: str, model: OfflineModel, weather: Weather
) -> None:
    agent = Agent(f"{api}:{MODEL}", tools=[weather.get_weather], output_type=SHAPES[shape])
    run = await agent.run("What is the weather in Lagos?")
    assert run.output == REPORT
    assert weather.cities == ["Lagos"]
    assert results(model) == ["31 °C, sunny"]
    assert model.calls == 2
