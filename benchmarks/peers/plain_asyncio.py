"""Nothing durable: what the work itself costs."""

import asyncio
from collections.abc import Awaitable
from typing import Any

from peers import work
from peers.contender import Contender, main


class PlainAsyncio(Contender):
    """The agent as one writes it without any engine."""

    durability = "nothing"
    watcher = "nobody"

    async def start(self) -> None:
        """Need nothing."""

    async def run(self, job: work.Job) -> Any:
        """Call the functions."""
        return await work.perform(job, lambda function, *args: function(*args), gather)

    async def resume(self, job: work.Job) -> Any:
        """Begin again, as there is nothing to go on from."""
        return await self.run(job)


async def gather(*steps: Awaitable[Any]) -> list[Any]:
    """Wait for all."""
    return await asyncio.gather(*steps)


if __name__ == "__main__":
    main(PlainAsyncio)
