"""No engine: one synced SQLite write a step. It is what a disk that keeps its word costs."""

import asyncio
import json
import sqlite3
from collections.abc import Awaitable
from typing import Any
from uuid import uuid4

from peers import work
from peers.contender import Contender, main

CUT_OFF = "cut-off"
SCHEMA = "create table if not exists steps (run text, number integer, result text)"


class SyncedSqlite(Contender):
    """The least that a durable step needs: its result is on disk before the next one begins."""

    durability = "every step synced to disk by SQLite"
    watcher = "nobody"

    async def start(self) -> None:
        """Open the database."""
        path = self.folder / "steps.sqlite"
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("pragma journal_mode = wal")
        self._database.execute("pragma synchronous = full")
        self._database.execute(SCHEMA)

    async def _run(self, name: str, job: work.Job) -> Any:
        known = dict(
            self._database.execute("select number, result from steps where run = ?", (name,))
        )
        begun = iter(range(1_000_000))

        def step(function: Any, *arguments: Any) -> Awaitable[Any]:
            return self._step(name, next(begun), known, function, arguments)

        return await work.perform(job, step, gather)

    async def _step(
        self, name: str, number: int, known: dict[int, str], function: Any, arguments: Any
    ) -> Any:
        if number in known:
            return json.loads(known[number])
        result = await function(*arguments)
        row = (name, number, json.dumps(result))
        self._database.execute("insert into steps values (?, ?, ?)", row)
        return result

    async def run(self, job: work.Job) -> Any:
        """Run it under a new name."""
        return await self._run(uuid4().hex, job)

    async def begin(self, job: work.Job) -> None:
        """Run it under a name that the next process knows."""
        await self._run(CUT_OFF, job)

    async def resume(self, job: work.Job) -> Any:
        """Run it again under the same name: results that are there are taken."""
        return await self._run(CUT_OFF, job)


async def gather(*steps: Awaitable[Any]) -> list[Any]:
    """Wait for all."""
    return await asyncio.gather(*steps)


if __name__ == "__main__":
    main(SyncedSqlite)
