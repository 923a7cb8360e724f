"""LangGraph's functional API with its SQLite checkpointer, which writes before it goes on."""

import asyncio
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.func import entrypoint, task

from peers import work
from peers.contender import Contender, main

CUT_OFF = "cut-off"
STEPS: dict[Any, Any] = {function: task(function) for function in work.STEPS}


async def gather(*steps: Awaitable[Any]) -> list[Any]:
    """Wait for all."""
    return await asyncio.gather(*steps)


class LangGraph(Contender):
    """A library in the process."""

    packages = ("langgraph", "langgraph-checkpoint-sqlite")
    durability = "every step synced to disk by SQLite"
    watcher = "nobody: the program must know its thread and call again"

    async def start(self) -> None:
        """Open the database and build the agent on it."""
        self._open = AsyncExitStack()
        path = str(self.folder / "langgraph.sqlite")
        saver = await self._open.enter_async_context(AsyncSqliteSaver.from_conn_string(path))

        @entrypoint(checkpointer=saver)
        async def run(job: work.Job) -> Any:
            return await work.perform(job, lambda function, *args: STEPS[function](*args), gather)

        self._agent = run

    async def _invoke(self, job: work.Job | None, thread: str) -> Any:
        return await self._agent.ainvoke(
            job, {"configurable": {"thread_id": thread}}, durability="sync"
        )

    async def run(self, job: work.Job) -> Any:
        """Invoke it in a thread of its own."""
        return await self._invoke(job, uuid4().hex)

    async def begin(self, job: work.Job) -> None:
        """Invoke it in a thread that the next process knows."""
        await self._invoke(job, CUT_OFF)

    async def resume(self, job: work.Job) -> Any:
        """Invoke the thread without any input: it goes on."""
        return await self._invoke(None, CUT_OFF)

    async def stop(self) -> None:
        """Close the database."""
        if hasattr(self, "_open"):
            await self._open.aclose()


if __name__ == "__main__":
    main(LangGraph)
