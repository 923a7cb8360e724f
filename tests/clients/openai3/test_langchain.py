"""langchain-openai, alone and in LangChain's agent."""

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI

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

APIS = {
    "chat": ["system", "user", "assistant", "tool", "tool"],
    "responses": ["system", "user", *["function_call"] * 2, *["function_call_output"] * 2],
}
SHAPES: dict[str, Any] = {
    "by a tool": ToolStrategy(Report),
    "by a schema": ProviderStrategy(Report),
}


def chat_model(api: str) -> ChatOpenAI:
    return ChatOpenAI(model=MODEL, use_responses_api=api == "responses")


@pytest.mark.parametrize("api", APIS)
def test_an_agent(api: str, model: OfflineModel, weather: Weather) -> None:
    agent = create_agent(chat_model(api), tools=[weather.get_weather], system_prompt=RULES)
    run = agent.invoke({"messages": [HumanMessage(QUESTION)]})
    assert run["messages"][-1].text == ANSWER
    assert sorted(weather.cities) == ["Lagos", "Oslo"]
    assert speakers(model)[-1] == APIS[api]
    assert tools(model) == [["get_weather"]] * 2
    assert results(model) == ["31 °C, sunny", "-4 °C, snow"]
    assert model.calls == 2


@pytest.mark.parametrize("shape", SHAPES)
def test_an_answer_with_a_shape(shape: str, model: OfflineModel, weather: Weather) -> None:
    agent = create_agent(
        chat_model("chat"), tools=[weather.get_weather], response_format=SHAPES[shape]
    )
    run = agent.invoke({"messages": [HumanMessage("What is the weather in Lagos?")]})
    assert run["structured_response"] == REPORT
    assert weather.cities == ["Lagos"]
    assert results(model) == ["31 °C, sunny"]
    assert model.calls == 2


@pytest.mark.parametrize("api", APIS)
def test_a_stream(api: str, model: OfflineModel, weather: Weather) -> None:
    bound = chat_model(api).bind_tools([weather.get_weather])
    said: list[Any] = [SystemMessage(RULES), HumanMessage(QUESTION)]
    first, _ = joined(bound.stream(said))
    assert [call["args"] for call in first.tool_calls] == [{"city": "Lagos"}, {"city": "Oslo"}]
    said += [first, *[weather_message(weather, call) for call in first.tool_calls]]
    last, pieces = joined(bound.stream(said))
    assert last.text == ANSWER
    assert pieces > 4
    assert results(model) == ["31 °C, sunny", "-4 °C, snow"]


def joined(stream: Any) -> tuple[AIMessage, int]:
    whole, *rest = list(stream)
    for piece in rest:
        whole += piece
    assert isinstance(whole, AIMessageChunk)
    return whole, 1 + len(rest)


def weather_message(weather: Weather, call: Any) -> Any:
    result = weather.get_weather(**call["args"])
    return {"role": "tool", "tool_call_id": call["id"], "content": result}
