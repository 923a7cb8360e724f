"""Runs an exported agent as it stands, with its steps counted as `tour.serve` counts them.

    python agent_process.py agent.py

It is the agent's own `main` that serves; what is added is the counting, and a model that does not
answer is given up after two seconds instead of the client's ten minutes.
"""

import runpy
import sys
from typing import Any

import openai
import restate

from tour.endpoint import counted

MODEL_SECONDS = 2


class ImpatientClient(openai.AsyncOpenAI):
    """The official client, with a time limit that a campaign can wait for."""

    def __init__(self, **options: Any) -> None:
        """Take the agent's own options but for the time limit."""
        super().__init__(**options | {"timeout": MODEL_SECONDS})


def main() -> None:
    """Run the agent until it is told to end."""
    app = restate.app

    def counting_app(services: Any) -> Any:
        return app([counted(service) for service in services])

    restate.app = counting_app  # type: ignore[assignment]
    openai.AsyncOpenAI = ImpatientClient  # type: ignore[misc]
    runpy.run_path(sys.argv[1], run_name="__main__")


if __name__ == "__main__":
    main()
