"""What one agent makes of bad input, word by word, to a caller who waits for the answer.

That no handler of any notebook comes to grief is what `tests/campaigns/test_bad_input.py` shows.
"""

import json
import sys
import time
from types import ModuleType
from typing import Any

import httpx
import pytest

from tests.helpers.agents import agents_of, services_of, unfinished
from tests.helpers.outside import post
from tour import server

SECONDS = 10  # far below the time in which a handler that fails would give up
GOOD = {"prompt": "What is the weather like in Oslo?"}


agent = agents_of("01")


def asked(path: str, **body: Any) -> httpx.Response:
    """Send a request; afterwards no invocation of the agent may be under way."""
    began = time.monotonic()
    try:
        reply = post(path, timeout=SECONDS, **body)
    except httpx.ReadTimeout:
        pytest.fail(f"no answer: {under_way()}")
    assert time.monotonic() - began < SECONDS
    assert under_way() == []
    return reply


def under_way() -> list[server.Row]:
    return unfinished(*services_of(sys.modules["agent_01"]))


def refusal(reply: httpx.Response) -> str:
    """Return the message of a typed failure."""
    assert reply.is_error, reply.text
    said = reply.json()
    assert said["code"] == reply.status_code
    return str(said["message"])


JSON = {"content-type": "application/json"}
BAD: dict[str, dict[str, Any]] = {
    "empty": {"content": b""},
    "empty, called JSON": {"content": b"", "headers": JSON},
    "not JSON": {"content": b"What is the weather?", "headers": JSON},
    "cut JSON": {"content": b'{"prompt": "What', "headers": JSON},
    "not UTF-8": {"content": b'{"prompt": "\xff\xfe"}', "headers": JSON},
    "text": {"content": b'{"prompt": "Oslo?"}', "headers": {"content-type": "text/plain"}},
    "a form": {"data": {"prompt": "Oslo?"}},
    "null": {"json": None, "content": b"null", "headers": JSON},
    "a number": {"json": 7},
    "a string": {"json": "Oslo?"},
    "a list": {"json": [GOOD]},
    "a prompt of the wrong type": {"json": {"prompt": 7}},
    "a prompt that is null": {"json": {"prompt": None}},
    "a prompt that is an object": {"json": {"prompt": GOOD}},
    "an unknown field": {"json": GOOD | {"city": "Oslo"}},
    "only an unknown field": {"json": {"promt": "Oslo?"}},
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD)
def test_a_bad_body_is_refused(agent: ModuleType, body: dict[str, Any]) -> None:
    body = {key: value for key, value in body.items() if value is not None}
    assert refusal(asked("WeatherAgent/run", **body))


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("NobodyAgent/run", "NobodyAgent"),
        ("WeatherAgent/fly", "fly"),
        ("WeatherAgent", "bad path"),
    ],
)
def test_what_is_not_there_is_404_or_400(agent: ModuleType, path: str, named: str) -> None:
    reply = asked(path, json=GOOD)
    assert reply.status_code in (400, 404)
    assert named in refusal(reply)


@pytest.mark.parametrize(
    "city",
    ["Zürich", "東京", "Ciudad de México", "N'Djamena", "Oslo\n\tOslo", "🌧️", "\u0000", "\ud83d"],
)
def test_any_unicode_is_taken(agent: ModuleType, city: str) -> None:
    prompt = json.dumps({"prompt": f"What is the weather like in {city}?"}).encode()
    reply = asked("WeatherAgent/run", content=prompt, headers=JSON)
    if reply.is_success:
        assert isinstance(reply.json(), str)
    else:
        assert city == "\ud83d", "half a character is no text"
        assert refusal(reply)


def test_afterwards_a_good_question_is_answered(agent: ModuleType) -> None:
    assert asked("WeatherAgent/run", json={}).json() == "San Francisco: 23 °C, sunny."
    assert asked("WeatherAgent/run", json=GOOD).json() == "Oslo: 23 °C, sunny."
