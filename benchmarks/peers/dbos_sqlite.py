"""DBOS with its default database: SQLite."""

import asyncio
from collections.abc import Awaitable
from typing import Any

from dbos import DBOS, DBOSConfig, SetWorkflowID

from peers import work
from peers.contender import Contender, main

CUT_OFF = "cut-off"
STEPS = {function: DBOS.step()(function) for function in work.STEPS}


@DBOS.workflow()
async def run(job: work.Job) -> Any:
    """Do a job, each step of it in the database."""
    return await work.perform(job, lambda function, *args: STEPS[function](*args), gather)


async def gather(*steps: Awaitable[Any]) -> list[Any]:
    """Wait for all."""
    return await asyncio.gather(*steps)


class Dbos(Contender):
    """A library in the process."""

    packages = ("dbos",)
    durability = "every step synced to disk by SQLite"
    watcher = "the next process that starts DBOS"

    async def start(self) -> None:
        """Launch it."""
        config: DBOSConfig = {
            "name": "bench",
            "system_database_url": f"sqlite:///{self.folder}/dbos.sqlite",
            "log_level": "ERROR",
        }
        DBOS(config=config)
        DBOS.launch()

    async def run(self, job: work.Job) -> Any:
        """Call the workflow."""
        return await run(job)

    async def begin(self, job: work.Job) -> None:
        """Call it by a name that the next process knows."""
        with SetWorkflowID(CUT_OFF):
            await run(job)

    async def resume(self, job: work.Job) -> Any:
        """Wait for the workflow, which goes on from the launch."""
        handle: Any = await DBOS.retrieve_workflow_async(CUT_OFF)
        return await handle.get_result(polling_interval_sec=0.02)

    async def stop(self) -> None:
        """End its threads."""
        DBOS.destroy()


if __name__ == "__main__":
    main(Dbos)
