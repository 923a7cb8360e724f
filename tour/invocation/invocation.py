"""Invocations: call or send a handler, wait for it, answer what it waits for, stop it."""

import asyncio
import json
from typing import Any

import httpx

from tour import server
from tour.endpoint import claim, show
from tour.errors import InvocationFailed, Refused, TourError
from tour.invocation.patience import Patience, within
from tour.invocation.request import AnyDefinition, AnyHandler, Request, definition_of
from tour.journal import Journal, Step, Timeline, model_calls_of, newest, read


class Recorded:
    """What the server has of an invocation, finished or not.

    Attributes:
        id: the server's name for it.
        target: "Service/handler", or "Service/key/handler".
        definition: the handler, as the SDK knows it.
    """

    def __init__(self, invocation: str, target: str, definition: AnyDefinition) -> None:
        """Remember which handler it is an invocation of."""
        self.id = invocation
        self.target = target
        self.definition = definition

    def __repr__(self) -> str:
        """Name the handler; its id and its state change from run to run."""
        return f"<{type(self).__name__} of {self.target}>"

    @property
    def journal(self) -> Journal:
        """Its journal as it is now: what ran, how often, with what outcome."""
        return read(self.id)

    @property
    def timeline(self) -> Timeline:
        """Its journal as a picture."""
        return Timeline(self.journal)

    @property
    def llm_calls(self) -> int:
        """How many requests it has sent to the model, those of the agents it called included."""
        return sum(model_calls_of(found.id) for found in self.journal.walk())

    async def status(self) -> str:
        """Return the server's word for its state, such as running, backing-off or completed."""
        rows = await server.query_async(f"select status from sys_invocation where id = '{self.id}'")
        return str(rows[0]["status"]) if rows else "unknown"

    async def restart(self, *, keeping: int) -> "Invocation":
        """Start it anew, as an invocation that takes over its first `keeping` steps as they are.

        The steps after those run again, on the code that is served now.

        Raises:
            TourError: it has not completed, or has not so many steps.
        """
        entries = self.journal.entries
        if not 0 <= keeping <= len(entries):
            raise TourError(f"{self.target} has {len(entries)} steps, not {keeping} to keep.")
        kept = entries[keeping - 1].index if keeping else 0
        reply = await self._order(f"restart-as-new?from={kept}&deployment=latest")
        return Invocation(reply.json()["new_invocation_id"], self.target, self.definition)

    async def _order(self, what: str) -> httpx.Response:
        return await asyncio.to_thread(server.request, "PATCH", f"/invocations/{self.id}/{what}")


class Invocation(Recorded):
    """An invocation under way. It lives in the server and goes on, whether or not you wait."""

    async def result(self, timeout: float = 60) -> Any:
        """Wait for its result and return it.

        Raises:
            InvocationFailed: its handler failed for good; with the server's message and status.
            TourError: it is paused, it fails in the same way again and again, nobody serves it,
                or it has not completed after `timeout` seconds.
        """
        path = f"/restate/invocation/{self.id}/attach"
        return await self._result_of(asyncio.ensure_future(server.wait_for("GET", path)), timeout)

    async def _result_of(self, waiting: "asyncio.Future[httpx.Response]", timeout: float) -> Any:
        patience = Patience(self.id, self.target, timeout)
        try:
            while not await within(patience.interval, waiting):
                show(self.id)
                await patience.check()
        finally:
            waiting.cancel()
            show(self.id)
        return _result_in(waiting.result(), self.target, self.definition)

    async def until(self, what: str, *, tries: int = 1, timeout: float = 30) -> None:
        """Wait until a step of this name has begun, or until the invocation is in this state.

        Args:
            what: a step's name, or a state such as "suspended".
            tries: how many tries at steps of this name to wait for.
            timeout: in seconds.

        Raises:
            TourError: it completed without that, it is stuck, or time is up.
        """
        patience = Patience(self.id, self.target, timeout, until=what)
        while True:
            found = await asyncio.to_thread(read, self.id)
            if found.status == what or found.tries(what) >= tries:
                return
            if found.status == "completed":
                raise TourError(f"{self.target} completed before {what!r}; steps: {found.steps}.")
            await patience.check()
            await asyncio.sleep(0.02)

    async def cancel(self) -> None:
        """Ask it to stop: its handler sees a TerminalError with status 409, and can clean up."""
        await self._order("cancel")

    async def kill(self) -> None:
        """End it at once; its handler is not asked, and nothing is cleaned up."""
        await self._order("kill")

    async def resume(self) -> None:
        """Let it go on now: one that is paused, or one that waits for its next retry."""
        await self._order("resume")


class Finished(Recorded):
    """An invocation that has completed.

    Attributes:
        result: what its handler returned.
    """

    def __init__(self, invocation: Invocation, result: Any) -> None:
        """Keep the result beside the record."""
        super().__init__(invocation.id, invocation.target, invocation.definition)
        self.result = result


async def send(handler: AnyHandler, arg: Any = None, key: str | None = None) -> Invocation:
    """Hand an invocation to Restate and return at once.

    Args:
        handler: a function that is decorated as a handler of a service.
        arg: what it takes: a value of its type, or the same as JSON (a dict for a model).
        key: of the virtual object or the workflow.

    Raises:
        InvocationFailed: Restate does not accept it; with the server's message and status.
        TourError: the handler needs a key, or takes none; or the argument is not what it takes.
    """
    return await _sent(Request(handler, arg, key))


async def call(
    handler: AnyHandler, arg: Any = None, key: str | None = None, *, timeout: float = 60
) -> Finished:
    """Call a handler through Restate and wait until it has finished.

    Takes what `send` takes, and raises what `send` and `Invocation.result` raise.
    """
    request = Request(handler, arg, key)
    if not request.repeatable:
        invocation = await _sent(request)
        return Finished(invocation, await invocation.result(timeout))
    answer = asyncio.ensure_future(request.call())
    try:
        if await within(Patience.interval, answer):
            return _at_once(request, answer.result())
        invocation = await _sent(request)  # the same one: this is how we learn its id
        return Finished(invocation, await invocation._result_of(answer, timeout))
    finally:
        answer.cancel()


async def _sent(request: Request) -> Invocation:
    reply = await request.send()
    if reply.is_error:
        raise InvocationFailed(request.target, server.message_of(reply), reply.status_code)
    invocation = Invocation(reply.json()["invocationId"], request.target, request.definition)
    claim(invocation.id)
    return invocation


def _at_once(request: Request, reply: httpx.Response) -> Finished:
    invocation = reply.headers.get("x-restate-id", "")
    show(invocation)
    result = _result_in(reply, request.target, request.definition)
    return Finished(Invocation(invocation, request.target, request.definition), result)


def _result_in(reply: httpx.Response, target: str, definition: AnyDefinition) -> Any:
    if reply.is_error:
        raise InvocationFailed(target, server.message_of(reply), reply.status_code)
    return definition.handler_io.output_serde.deserialize(reply.content)


def latest(handler: AnyHandler) -> Invocation:
    """Return the newest invocation of a handler, also one that another kernel has made.

    Raises:
        TourError: Restate knows none.
    """
    definition = definition_of(handler)
    target = f"{definition.service_tag.name}/{definition.name}"
    found = newest(target)
    if found is None:
        raise TourError(f"Restate knows no invocation of {target}: tour.send(...) makes one.")
    return Invocation(found, target, definition)


async def approve(invocation: Invocation, value: Any = True) -> None:
    """Resolve the awakeable that an invocation waits for, its own or one of its children's.

    Raises:
        TourError: it waits for none.
    """
    awakeable = await _awaited(invocation)
    path, body = f"/restate/awakeables/{awakeable.id}/resolve", json.dumps(value)
    await _answer(path, body, "application/json")


async def reject(invocation: Invocation, reason: str = "rejected") -> None:
    """Reject the awakeable that an invocation waits for: its handler sees a TerminalError.

    Raises:
        TourError: it waits for none.
    """
    awakeable = await _awaited(invocation)
    await _answer(f"/restate/awakeables/{awakeable.id}/reject", reason, "text/plain")


async def _answer(path: str, body: str, content_type: str) -> None:
    reply = await server.ask("POST", path, content=body, headers={"content-type": content_type})
    if reply.is_error:
        raise Refused(server.message_of(reply), reply.status_code)


async def _awaited(invocation: Any) -> Step:
    """Return the oldest awakeable without an answer, waiting for it if the agent is on its way."""
    if not isinstance(invocation, Recorded):
        name = getattr(invocation, "__name__", "handler")
        raise TourError(
            f"{name} is no invocation: pass what tour.send returned, or tour.latest({name})."
        )
    patience = Patience(invocation.id, invocation.target, 30)
    while True:
        found = await asyncio.to_thread(read, invocation.id)
        waiting = [journal for journal in found.walk() if journal.status != "completed"]
        for step in [step for journal in waiting for step in journal.entries]:
            if step.kind == "awakeable" and step.state == "waiting":
                return step
        if found.status == "completed":
            raise TourError(f"{found.target} has completed: it waits for no approval.")
        await patience.check()
        await asyncio.sleep(0.02)
