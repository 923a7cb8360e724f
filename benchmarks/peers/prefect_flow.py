"""Prefect with results that are kept, on the server that it starts for itself."""

import asyncio
import os
from collections.abc import Awaitable
from pathlib import Path
from typing import Any
from uuid import uuid4

from peers import work
from peers.contender import Contender, main

CUT_OFF = "cut-off"


class Prefect(Contender):
    """A library in the process, and a server below it."""

    packages = ("prefect",)
    durability = "every result a file, its state in the server's SQLite"
    watcher = "nobody: the program must call again with the same parameters"

    def __init__(self, folder: Path) -> None:
        """Keep all of its data in the folder."""
        super().__init__(folder)
        os.environ |= {
            "PREFECT_HOME": str(folder),
            "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # on a busy machine
            "PREFECT_LOGGING_LEVEL": "ERROR",
            "DO_NOT_TRACK": "1",
        }

    async def start(self) -> None:
        """Import it, which reads the settings; the first flow starts the server."""
        from prefect import flow, task  # noqa: PLC0415
        from prefect.cache_policies import FLOW_PARAMETERS, INPUTS  # noqa: PLC0415

        keep = task(persist_result=True, cache_policy=INPUTS + FLOW_PARAMETERS)
        steps: dict[Any, Any] = {function: keep(function) for function in work.STEPS}

        @flow(persist_result=True)
        async def run(name: str, job: dict[str, Any]) -> Any:
            return await work.perform(job, lambda function, *args: steps[function](*args), gather)

        self._flow = run

    async def run(self, job: work.Job) -> Any:
        """Run the flow under a new name, so that no result of another run is taken for its own."""
        return await self._flow(uuid4().hex, job)

    async def begin(self, job: work.Job) -> None:
        """Run it under a name that the next process knows."""
        await self._flow(CUT_OFF, job)

    async def resume(self, job: work.Job) -> Any:
        """Run it again under the same name: results that are there are taken."""
        return await self._flow(CUT_OFF, job)


async def gather(*steps: Awaitable[Any]) -> list[Any]:
    """Wait for all."""
    return await asyncio.gather(*steps)


if __name__ == "__main__":
    main(Prefect)
