"""The conversation that every client has, and how to read what it sent."""

from typing import Any

from pydantic import BaseModel

from tour.model import OfflineModel

__all__ = [
    "ANSWER",
    "MODEL",
    "QUESTION",
    "REPORT",
    "RULES",
    "Report",
    "Weather",
    "results",
    "speakers",
    "tools",
]

MODEL = "offline-stand-in"
RULES = "You are a helpful agent that provides weather updates."
QUESTION = "What is the weather in Lagos and Oslo?"
ANSWER = "Lagos: 31 °C, sunny. Oslo: -4 °C, snow."


class Report(BaseModel):
    """An answer with a shape: its temperature can only come from the tool."""

    city: str
    temperature: int


REPORT = Report(city="Lagos", temperature=31)


class Weather:
    """The one tool that there is.

    Attributes:
        cities: what it has been asked for.
    """

    def __init__(self) -> None:
        self.cities: list[str] = []

    def get_weather(self, city: str) -> str:
        """Get the current weather for a given city."""
        self.cities.append(city)
        return {"Lagos": "31 °C, sunny", "Oslo": "-4 °C, snow"}[city]


def speakers(model: OfflineModel) -> list[list[str]]:
    """Who speaks in each request: a role, and in responses what an item is that has none."""
    return [[each.get("role") or each["type"] for each in _items(r)] for r in model.requests]


def tools(model: OfflineModel) -> list[list[str]]:
    """The names of the tools that each request offers."""
    offered = [request.get("tools", []) for request in model.requests]
    return [[each.get("function", each)["name"] for each in every] for every in offered]


def results(model: OfflineModel) -> list[str]:
    """What the last request says that the tools have returned."""
    kinds = {"tool": "content", "function_call_output": "output"}
    said = [(each.get("role") or each["type"], each) for each in _items(model.requests[-1])]
    return [each[kinds[kind]] for kind, each in said if kind in kinds]


def _items(request: Any) -> list[Any]:
    said = request.get("messages") or request["input"]
    return [{"role": "user"}] if isinstance(said, str) else list(said)
