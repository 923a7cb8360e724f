"""Services whose steps and model calls are counted while they run, unknown to the agents."""

import copy
import inspect
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache, wraps
from typing import Any

import restate
from restate.extensions import current_context

from tour import journal

AnyService = restate.Service | restate.VirtualObject | restate.Workflow
Action = Callable[..., Any]


def counted(service: AnyService) -> AnyService:
    """Return the service with its handlers' steps counted; the given one stays as it is."""
    _count_model_calls()
    copied = copy.copy(service)
    copied.handlers = {
        name: replace(handler, context_managers=[_count, *(handler.context_managers or [])])
        for name, handler in service.handlers.items()
    }
    return copied


@asynccontextmanager
async def _count() -> AsyncIterator[None]:
    """Count the steps of one attempt at an invocation: each try is noted before it runs."""
    context: Any = current_context()
    invocation: str = context.request().id
    journal.current_invocation.set(invocation)
    # Replay is deterministic: the n-th run of every attempt is the n-th run of the journal.
    runs: list[str] = []
    run, run_typed, awakeable = context.run, context.run_typed, context.awakeable

    def counted_run(name: str, action: Action, /, *args: Any, **kwargs: Any) -> Any:
        runs.append(name)
        return run(name, _noted(name, action, invocation, len(runs) - 1), *args, **kwargs)

    def counted_run_typed(name: str, action: Action, /, *args: Any, **kwargs: Any) -> Any:
        runs.append(name)
        return run_typed(name, _noted(name, action, invocation, len(runs) - 1), *args, **kwargs)

    def noted_awakeable(*args: Any, **kwargs: Any) -> Any:
        made = awakeable(*args, **kwargs)
        journal.note_awakeable(invocation, made[0], len(runs))
        return made

    context.run, context.run_typed = counted_run, counted_run_typed
    context.awakeable = noted_awakeable
    yield


def _noted(name: str, action: Any, invocation: str, step: int) -> Action:
    """Return the action with its beginning and its end written down, and as async as it was."""
    if inspect.iscoroutine(action):
        action.close()
        raise restate.TerminalError(
            f"The step {name!r} was given a coroutine: hand over the function, and its arguments "
            f'behind it, as in ctx.run_typed("{name}", {action.__name__}, …).'
        )
    if inspect.iscoroutinefunction(action):

        @wraps(action)
        async def noted_async(*args: Any, **kwargs: Any) -> Any:
            with journal.noted(invocation, step):
                return await action(*args, **kwargs)

        return noted_async

    @wraps(action)
    def noted(*args: Any, **kwargs: Any) -> Any:
        with journal.noted(invocation, step):
            return action(*args, **kwargs)

    return noted


@cache
def _count_model_calls() -> None:
    """Count what the openai client sends, on its own word: it logs each request before it goes."""
    logger = logging.getLogger("openai._base_client")
    logger.setLevel(logging.DEBUG)
    logger.addFilter(_count_request)


def _count_request(record: logging.LogRecord) -> bool:
    """Count a request, and let pass what the log level of openai would have let pass."""
    invocation = journal.current_invocation.get()
    if invocation and str(record.msg).startswith("Sending HTTP Request"):
        journal.count_model_call(invocation)
    return record.levelno >= logging.getLogger("openai").getEffectiveLevel()
