"""openai-agents, alone, and made durable by Restate's integration for it."""

from typing import Any

import agents
import openai
import pytest
import restate
from restate.ext.openai import DurableRunner, durable_function_tool, restate_context

import tour
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
from tests.helpers.serving import Serve
from tour.model import OfflineModel

pytestmark = pytest.mark.anyio

APIS: dict[Any, list[str]] = {
    "chat_completions": ["system", "user", "assistant", "tool", "tool"],
    "responses": ["user", *["function_call"] * 2, *["function_call_output"] * 2],
}


@pytest.fixture(params=APIS)
def api(request: pytest.FixtureRequest) -> Any:
    agents.set_default_openai_api(request.param)
    # A client belongs to one event loop: the tests' own, or that of the services.
    agents.set_default_openai_client(openai.AsyncOpenAI(), use_for_tracing=False)
    return request.param


async def test_a_conversation(api: str, model: OfflineModel, weather: Weather) -> None:
    agent = plain_agent(weather)
    run = await agents.Runner.run(agent, QUESTION)
    assert run.final_output == ANSWER
    assert sorted(weather.cities) == ["Lagos", "Oslo"]
    assert speakers(model)[-1] == APIS[api]
    assert tools(model) == [["get_weather"]] * 2
    assert results(model) == ["31 °C, sunny", "-4 °C, snow"]
    assert model.calls == 2


async def test_a_stream(api: str, model: OfflineModel, weather: Weather) -> None:
    run = agents.Runner.run_streamed(plain_agent(weather), QUESTION)
    words = [
        event.data.delta
        async for event in run.stream_events()
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
    ]
    assert run.final_output == "".join(words) == ANSWER
    assert len(words) > 4
    assert sorted(weather.cities) == ["Lagos", "Oslo"]
    assert results(model) == ["31 °C, sunny", "-4 °C, snow"]


async def test_an_answer_with_a_shape(api: str, model: OfflineModel, weather: Weather) -> None:
    agent = plain_agent(weather, output_type=Report)
    run = await agents.Runner.run(agent, "What is the weather in Lagos?")
    assert run.final_output == REPORT
    assert weather.cities == ["Lagos"]
    assert results(model) == ["31 °C, sunny"]


async def test_a_handoff(api: str, model: OfflineModel, weather: Weather) -> None:
    specialist = plain_agent(weather, handoff_description="Knows the weather of every city.")
    front: agents.Agent[None] = agents.Agent(
        name="Front", instructions="Hand over to whoever knows.", model=MODEL, handoffs=[specialist]
    )
    run = await agents.Runner.run(front, "What is the weather in Lagos?")
    assert run.last_agent is specialist
    assert run.final_output.endswith("Lagos: 31 °C, sunny.")
    assert weather.cities == ["Lagos"]
    assert tools(model) == [["transfer_to_weather"], ["get_weather"], ["get_weather"]]


def plain_agent(weather: Weather, **options: Any) -> "agents.Agent[None]":
    tool = agents.function_tool(weather.get_weather)
    return agents.Agent(name="Weather", instructions=RULES, model=MODEL, tools=[tool], **options)


# ---- by restate.ext.openai


def durable(weather: Weather, name: str, fetch: Any) -> tuple[restate.Service, Any]:
    """Return a service with an agent whose model calls and tool are steps, and its handler."""
    service = restate.Service(name)

    @durable_function_tool
    async def get_weather(city: str) -> str:
        """Get the current weather for a given city."""
        return await restate_context().run_typed("get weather", fetch, city=city)

    @service.handler("run")
    async def run(ctx: restate.Context, question: str) -> str:
        agent: agents.Agent[None] = agents.Agent(
            name="Weather", instructions=RULES, model=MODEL, tools=[get_weather]
        )
        result = await DurableRunner.run(agent, question)
        return str(result.final_output)

    return service, run


STEPS = ["call LLM", "get weather", "get weather", "call LLM"]


async def test_a_durable_conversation(
    api: str, model: OfflineModel, weather: Weather, serve: Serve
) -> None:
    service, handler = durable(weather, f"Clients_{api}", weather.get_weather)
    serve(service)
    run = await tour.call(handler, QUESTION)
    assert run.result == ANSWER
    assert weather.cities == ["Lagos", "Oslo"]
    assert run.journal.steps == STEPS
    assert run.journal.attempts("call LLM") == [1, 1]
    assert run.journal.attempts("get weather") == [1, 1]
    assert speakers(model)[-1] == APIS[api]
    assert tools(model) == [["get_weather"]] * 2
    assert results(model) == ["31 °C, sunny", "-4 °C, snow"]
    assert model.calls == 2


async def test_a_durable_conversation_over_a_crash(
    api: str, model: OfflineModel, weather: Weather, serve: Serve
) -> None:
    def fetch(city: str) -> str:
        first = not weather.cities or city not in weather.cities
        result = weather.get_weather(city)
        if first and city == "Oslo":
            endpoint.crash()
        return result

    service, handler = durable(weather, f"ClientsCrash_{api}", fetch)
    endpoint = serve(service)
    run = await tour.send(handler, QUESTION)
    await run.until("backing-off")
    serve(service)
    assert await run.result() == ANSWER
    assert weather.cities == ["Lagos", "Oslo", "Oslo"]
    assert run.journal.steps == STEPS
    assert run.journal.attempts("call LLM") == [1, 1]
    assert run.journal.attempts("get weather") == [1, 2]
    assert model.calls == 2
