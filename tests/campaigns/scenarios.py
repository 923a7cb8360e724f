"""The documented calls of the exported agents, for campaigns."""

from dataclasses import dataclass
from typing import Any

__all__ = ["SCENARIOS", "Scenario"]


@dataclass(frozen=True)
class Scenario:
    """A call of an agent.

    Attributes:
        notebook: whose agent it is.
        path: of the handler, on the ingress; a key is put in for `{key}`.
        variants: bodies, each of which has an undisturbed run to compare with.
        width: how many steps are in flight at most at the same time.
    """

    notebook: str
    path: str
    variants: tuple[Any, ...]
    width: int = 1


def _prompts(*prompts: str) -> tuple[dict[str, str], ...]:
    return tuple({"prompt": prompt} for prompt in prompts)


SCENARIOS = (
    Scenario(
        "01",
        "/WeatherAgent/run",
        _prompts("What is the weather like in Oslo?", "Weather in Lagos, Lima and Quito, please"),
    ),
)
