"""Restate as the notebooks set it up: package `tour`, all in one process but the server."""

import os
from pathlib import Path
from typing import Any

from peers import work
from peers.contender import Contender, main


class Ours(Contender):
    """What a notebook's first cells do."""

    packages = ("restate-sdk", "hypercorn")
    durability = "every step synced to disk by the server"
    watcher = "the server, which calls again"

    def __init__(self, folder: Path) -> None:
        """Make the folder the tour's home."""
        super().__init__(folder)
        os.environ["TOUR_HOME"] = str(folder)

    async def start(self) -> None:
        """Do what the first cell does and serve the agent."""
        import tour  # noqa: PLC0415, it counts
        from peers.restate_agent import bench, run  # noqa: PLC0415

        self._run = run
        tour.start()
        tour.serve(bench)

    async def run(self, job: work.Job) -> Any:
        """Call it as a cell does."""
        import tour  # noqa: PLC0415

        return (await tour.call(self._run, job)).result

    async def resume(self, job: work.Job) -> Any:
        """Find the newest run, which goes on by itself, and wait for it."""
        import tour  # noqa: PLC0415

        return await tour.latest(self._run).result()

    async def stop(self) -> None:
        """Stop the server."""
        from tour import server  # noqa: PLC0415

        server.down()


if __name__ == "__main__":
    main(Ours)
