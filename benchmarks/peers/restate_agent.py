"""The work as a Restate service, for both contenders that run on it."""

from typing import Any

import restate

from peers import work

__all__ = ["bench", "run"]

bench = restate.Service("BenchAgent")


@bench.handler()
async def run(ctx: restate.Context, job: dict[str, Any]) -> Any:
    """Do a job, each step of it in the journal."""

    def step(function: Any, *arguments: Any) -> Any:
        return ctx.run_typed(function.__name__, function, restate.RunOptions(), *arguments)

    return await work.perform(job, step, gather)


async def gather(*steps: Any) -> list[Any]:
    """Wait for all, in the way that a replay can follow."""
    await restate.gather(*steps)
    return [await step for step in steps]
