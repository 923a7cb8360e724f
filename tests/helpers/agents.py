"""The agents of a notebook: served for a file of tests, made to hear words of ours, and judged."""

import json
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest

import tour
from tests.helpers.outside import post
from tour import server
from tour.endpoint import AnyService, Endpoint
from tour.export import load

__all__ = [
    "agents_of",
    "crash",
    "failure_of",
    "kill_all",
    "namespace",
    "refuses",
    "says",
    "serve_again",
    "serve_if_down",
    "services_of",
    "text",
    "tool_call",
    "unfinished",
]

_served: dict[str, list[Endpoint]] = {}  # by the names of their modules

JSON = {"content-type": "application/json"}


def services_of(module: ModuleType) -> list[AnyService]:
    """Return the services that a module has, in their order."""
    return [each for each in vars(module).values() if isinstance(each, AnyService)]


def unfinished(*services: AnyService) -> list[server.Row]:
    """Return the invocations of some services that have not completed."""
    names = ", ".join(f"'{service.name}'" for service in services)
    return server.query(
        "select id, target, status, last_failure from sys_invocation "
        f"where status != 'completed' and target_service_name in ({names})"
    )


def kill_all(*services: AnyService) -> None:
    """Kill the invocations of some services, and wait until none is under way."""
    while rows := unfinished(*services):  # the test's own timeout ends this
        for row in rows:
            with suppress(tour.TourError):  # it may have ended with the one that called it
                server.request("PATCH", f"/invocations/{row['id']}/kill")
        time.sleep(0.02)


def agents_of(number: str, *apart: str) -> Any:
    """Make a fixture: the module of a notebook's agents, served for the tests of a file.

    Args:
        number: of the notebook.
        apart: what has a deployment of its own, by the names of its variables.
    """

    @pytest.fixture(scope="module")
    def agent() -> Iterator[ModuleType]:
        tour.start()
        module = load(number)
        serve_again(module, *apart)
        kill_all(*services_of(module))  # what tests of other files have left
        yield module
        kill_all(*services_of(module))
        crash(module)

    return agent


def serve_again(module: ModuleType, *apart: str) -> None:
    """Serve all services of a module, in place of what was served of it before."""
    alone = [getattr(module, name) for name in apart]
    together = [each for each in services_of(module) if each not in alone]
    groups = [together, *([each] for each in alone)]
    _served[module.__name__] = [tour.serve(*group) for group in groups if group]


def serve_if_down(module: ModuleType) -> None:
    """Serve them again if a test has left them down."""
    if any(repr(endpoint).endswith("down>") for endpoint in _served[module.__name__]):
        serve_again(module)


def crash(module: ModuleType) -> None:
    """Crash what serves them."""
    for endpoint in _served[module.__name__]:
        endpoint.crash()


async def failure_of(run: Any, match: str | None = None) -> tour.InvocationFailed:
    """Wait for an invocation that must fail, with these words if any are given."""
    with pytest.raises(tour.InvocationFailed, match=match) as failed:
        await run.result()
    return failed.value


def refuses(path: str, wrong: Any) -> None:
    """Hold that a handler refuses what it cannot read: nothing, no JSON, other JSON, and this."""
    for body in (b"", b"null", b"{", b'{"colour": "red"}', json.dumps(wrong).encode()):
        reply = post(path.format(key=uuid4().hex), content=body, headers=JSON if body else {})
        assert reply.is_error, body
        assert reply.json()["message"]
        if not body:
            assert (reply.status_code, "JSON object" in reply.text) == (400, True), body


def namespace(agent: ModuleType, source: str, **more: Any) -> dict[str, Any]:
    """Run a cell after the snippets, as a learner does, and return the names that are there."""
    names = {**vars(agent), **more}
    exec(source, names)
    return names


# ---- what a model says


def text(content: str | None) -> dict[str, Any]:
    """Return what a model says that calls no tool."""
    return {"role": "assistant", "content": content}


def tool_call(*names: str, arguments: str = "{}") -> dict[str, Any]:
    """Return what a model says that calls tools, each with these arguments."""
    functions = [{"name": name, "arguments": arguments} for name in names]
    calls = [{"id": str(n), "type": "function", "function": f} for n, f in enumerate(functions, 1)]
    return {"role": "assistant", "tool_calls": calls}


def says(
    agent: ModuleType, patch: pytest.MonkeyPatch, *replies: dict[str, Any], ever: bool = False
) -> None:
    """Put words into the model's mouth: its first replies, the last of them for ever if asked for.

    After them it is the honest one again.
    """
    honest: Callable[..., Awaitable[dict[str, Any]]] = agent.ask_model
    left = list(replies)

    async def ask_model(messages: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
        if ever and len(left) == 1:
            return left[0]
        return left.pop(0) if left else dict(await honest(messages, **options))

    patch.setattr(agent, "ask_model", ask_model)
