"""instructor, which makes a tool of the shape that it wants."""

from collections.abc import Iterable
from typing import Any

import instructor
import pytest
from pydantic import BaseModel

from tests.clients.talks import MODEL, REPORT, RULES, Report, Weather, results, speakers, tools
from tour.model import OfflineModel


class GetWeather(BaseModel):
    """Get the current weather for a given city."""

    city: str


@pytest.mark.parametrize(
    "mode",
    [
        instructor.Mode.TOOLS,
        instructor.Mode.TOOLS_STRICT,
        instructor.Mode.JSON_SCHEMA,
        instructor.Mode.RESPONSES_TOOLS,
    ],
)
def test_a_shape_in_each_way(mode: instructor.Mode, model: OfflineModel) -> None:
    client = instructor.from_provider(f"openai/{MODEL}", mode=mode)
    said: Any = [{"role": "user", "content": "It is 31 degrees in Lagos."}]
    found = client.chat.completions.create(messages=said, response_model=Report)
    assert isinstance(found, Report)
    assert found.model_dump() == REPORT.model_dump()
    assert model.calls == 1


def test_a_conversation(model: OfflineModel, weather: Weather) -> None:
    client = instructor.from_provider(f"openai/{MODEL}")
    said: list[Any] = [
        {"role": "system", "content": RULES},
        {"role": "user", "content": "What is the weather in Lagos?"},
    ]
    wanted, reply = client.chat.completions.create_with_completion(
        messages=said, response_model=GetWeather
    )
    message = reply.choices[0].message
    result = weather.get_weather(wanted.city)
    said.append({"role": "assistant", "content": None, "tool_calls": message.tool_calls})
    said.append({"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": result})
    report = client.chat.completions.create(messages=said, response_model=Report)
    assert report.model_dump() == REPORT.model_dump()
    assert weather.cities == ["Lagos"]
    assert speakers(model) == [["system", "user"], ["system", "user", "assistant", "tool"]]
    assert tools(model) == [["GetWeather"], ["Report"]]
    assert results(model) == ["31 °C, sunny"]


def test_tools_side_by_side(model: OfflineModel) -> None:
    client = instructor.from_provider(f"openai/{MODEL}", mode=instructor.Mode.PARALLEL_TOOLS)
    said: Any = [{"role": "user", "content": "What is the weather in Lagos and Oslo?"}]
    wanted: Any = Iterable[GetWeather]
    calls = client.chat.completions.create(messages=said, response_model=wanted)
    assert [call.city for call in calls] == ["Lagos", "Oslo"]
    assert model.calls == 1
