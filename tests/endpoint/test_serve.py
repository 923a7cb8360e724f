"""The in-process endpoint: served, registered, swapped, crashed with work in flight, recovered."""

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import restate
from openai import AsyncOpenAI
from starlette.applications import Starlette
from starlette.routing import Mount

import tour
from tests.helpers.ports_apart import NOTEBOOKS, home_below, names
from tests.helpers.serving import Serve
from tour import server
from tour.asgi import AsgiServer
from tour.endpoint import Endpoint, port_of, thread

# ---- served


@pytest.mark.anyio
async def test_serving_again_swaps_the_code_and_adds_handlers(serve: Serve) -> None:
    first = restate.Service("EndpointSwap")

    @first.handler("run")
    async def run(ctx: restate.Context, name: str) -> str:
        return f"one, {name}"

    endpoint = serve(first)
    assert (await tour.call(run, "Ada")).result == "one, Ada"

    second = restate.Service("EndpointSwap")

    @second.handler("run")
    async def changed(ctx: restate.Context, name: str) -> str:
        return f"two, {name}"

    @second.handler("more")
    async def more(ctx: restate.Context) -> str:
        return "new"

    again = serve(second)
    assert again.port == endpoint.port
    assert (await tour.call(run, "Ada")).result == "two, Ada"
    assert (await tour.call(more)).result == "new"
    assert [repr(endpoint), repr(again)] == [
        "<Endpoint of EndpointSwap: down>",
        "<Endpoint of EndpointSwap: up>",
    ]


def test_it_listens_on_loopback_alone(serve: Serve) -> None:
    port = serve(waiting("EndpointLoopback")).port
    listening = psutil.Process().net_connections("all")
    assert {s.laddr.ip for s in listening if s.laddr and s.laddr.port == port} == {"127.0.0.1"}


def test_each_service_of_the_notebooks_has_a_port_of_its_own() -> None:
    named = names(*NOTEBOOKS)
    assert "WeatherAgent" in named
    ports = {name: port_of(name) for name in named}
    assert len({*ports.values()}) == len(named), ports
    assert all(20_000 <= port < 30_000 for port in ports.values())


def test_tests_that_run_side_by_side_meet_on_noport_of_a_notebook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    for number in range(4):
        monkeypatch.setenv("TOUR_HOME", str(home_below(tmp_path, "a run", number)))
        taken += [port_of(name) for name in names(*NOTEBOOKS)]
    assert len({*taken}) == len(taken)


def test_a_port_that_another_learner_has_is_not_chosen_and_the_choice_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TOUR_HOME", str(tmp_path / "mine"))
    wanted = port_of("EndpointShared")
    (tmp_path / "mine" / "ports.json").unlink()
    with closing(socket.create_server(("127.0.0.1", wanted))):
        kept = port_of("EndpointShared")
        assert kept != wanted
    assert port_of("EndpointShared") == kept


@pytest.mark.anyio
async def test_the_app_is_plain_asgi_and_may_be_mounted_in_another(serve: Serve) -> None:
    mounted = restate.Service("EndpointMounted")

    @mounted.handler("run")
    async def run(ctx: restate.Context, name: str) -> str:
        return f"mounted, {name}"

    serve(restate.Service("EndpointBeside"))  # the server is up, and the loop runs
    app = Starlette(routes=[Mount("/restate/v1", restate.app([mounted]))])
    beside = AsgiServer(app, thread(), 0)
    body = {"uri": f"http://127.0.0.1:{beside.port}/restate/v1", "force": True}
    try:
        await asyncio.to_thread(server.request, "POST", "/deployments", json=body)
        assert (await tour.call(run, "Ada")).result == "mounted, Ada"
    finally:
        beside.stop()


# ---- refused


def test_a_taken_port_is_an_error_in_the_cell(serve: Serve) -> None:
    service = waiting("EndpointTaken")
    port = port_of("EndpointTaken")
    with closing(socket.create_server(("127.0.0.1", port))):
        with pytest.raises(tour.TourError, match=rf"(?s){port}.*another kernel.*{port + 1}\)"):
            serve(service)
        assert serve(service, port=port + 1).port == port + 1
    assert serve(service).port == port


def test_nothing_to_serve_is_an_error() -> None:
    with pytest.raises(tour.TourError, match="takes services, at least one"):
        tour.serve()


def test_what_restate_refuses_is_an_error_and_frees_the_port() -> None:
    refused = waiting("no such name allowed")
    with pytest.raises(tour.TourError, match="no such name allowed not registered"):
        tour.serve(refused)
    socket.create_server(("127.0.0.1", port_of("no such name allowed"))).close()


def test_a_handler_in_place_of_its_service_is_an_error() -> None:
    async def run(ctx: restate.Context) -> None: ...

    with pytest.raises(tour.TourError, match=r"restate\.Service"):
        tour.serve(run)  # type: ignore[arg-type]


# ---- crashed


SLOW_RETRIES = restate.InvocationRetryPolicy(initial_interval=timedelta(seconds=30))


def waiting(name: str, policy: restate.InvocationRetryPolicy | None = None) -> restate.Service:
    """Return a service that would do if anybody called it."""
    service = restate.Service(name, invocation_retry_policy=policy)

    @service.handler("run")
    async def run(ctx: restate.Context) -> None: ...

    return service


class Hang:
    """Four ways for a handler to be busy when the crash comes; from the second try on, none."""

    def __init__(self) -> None:
        self.begun = threading.Event()

    def _is_first(self) -> bool:
        is_first = not self.begun.is_set()
        self.begun.set()
        return is_first

    async def async_step(self, ctx: restate.Context) -> None:
        await ctx.run_typed("slow", self.plain_sleep)

    async def sync_step(self, ctx: restate.Context) -> None:
        await ctx.run_typed("slow", self.block)

    async def sleeping_handler(self, ctx: restate.Context) -> None:
        await self.plain_sleep()

    async def blocking_handler(self, ctx: restate.Context) -> None:
        self.block()

    async def deaf_handler(self, ctx: restate.Context) -> None:
        while self._is_first() or len(ctx.request().id) == 0:
            try:
                await asyncio.sleep(3)
            except asyncio.CancelledError:
                await asyncio.sleep(0.5)

    async def plain_sleep(self) -> None:
        if self._is_first():
            await asyncio.sleep(60)

    def block(self) -> None:
        if self._is_first():
            time.sleep(6)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "busy", ["async_step", "sync_step", "sleeping_handler", "blocking_handler", "deaf_handler"]
)
async def test_a_crash_is_immediate_and_the_work_goes_on_afterwards(
    busy: str, serve: Serve
) -> None:
    hang = Hang()
    body: Callable[[restate.Context], Awaitable[None]] = getattr(hang, busy)
    # A failure waits half a minute for its next try, unless somebody resumes it.
    service = restate.Service(f"EndpointBusy-{busy}", invocation_retry_policy=SLOW_RETRIES)

    @service.handler("run")
    async def run(ctx: restate.Context) -> str:
        await body(ctx)
        return "done"

    endpoint = serve(service)
    invocation = await tour.send(run)
    assert await asyncio.to_thread(hang.begun.wait, 10)
    began = time.monotonic()
    endpoint.crash()
    assert time.monotonic() - began < 5  # a step that blocks its thread takes six seconds
    assert repr(endpoint).endswith("down>")
    assert Endpoint.stop is Endpoint.crash
    await invocation.until("backing-off")

    began = time.monotonic()
    assert serve(service).port == endpoint.port
    assert await invocation.result() == "done"
    assert time.monotonic() - began < 20  # the back-off is half a minute
    if "step" in busy:
        assert invocation.journal.attempts("slow") == [2]
        cut, last = invocation.journal.entries[0].attempts or ()
        assert (cut.error, last.error) == ("cut off" if busy == "async_step" else None, None)


@pytest.mark.anyio
async def test_a_crash_ends_what_a_handler_has_started(serve: Serve) -> None:
    service = restate.Service("EndpointTask")
    begun, beats = threading.Event(), [0.0]

    async def beat() -> None:
        begun.set()
        while True:
            beats.append(time.monotonic())
            await asyncio.sleep(0.01)

    @service.handler("run")
    async def run(ctx: restate.Context) -> None:
        beating = asyncio.create_task(beat())
        await asyncio.wait({beating})

    endpoint = serve(service)
    invocation = await tour.send(run)
    assert await asyncio.to_thread(begun.wait, 10)
    endpoint.crash()
    crashed = time.monotonic()
    await asyncio.sleep(0.2)
    assert beats[-1] < crashed
    await invocation.kill()


@pytest.mark.anyio
async def test_a_handler_may_pull_the_plug_itself(serve: Serve) -> None:
    service = restate.Service("EndpointSuicide")
    endpoints: list[Endpoint] = []

    @service.handler("run")
    async def run(ctx: restate.Context) -> str:
        await ctx.run_typed("before", lambda: None)
        if len(endpoints) == 1:
            endpoints[0].crash()
            raise SystemError("nobody hears this")
        return "alive"

    endpoints.append(serve(service))
    invocation = await tour.send(run)
    await invocation.until("backing-off")
    assert invocation.journal.errors == ()
    endpoints.append(serve(service))
    assert await invocation.result() == "alive"
    assert invocation.journal.attempts("before") == [1]


@pytest.mark.anyio
async def test_only_what_backs_off_in_these_services_is_resumed(serve: Serve) -> None:
    one, other = waiting("EndpointMine"), waiting("EndpointTheirs", SLOW_RETRIES)
    for service in (one, other):
        serve(service).crash()
    tries = "select retry_count, last_start_at from sys_invocation where id = '{}'"
    mine, theirs = [await tour.send(service.handlers["run"].fn) for service in (one, other)]
    for invocation in (mine, theirs):
        await invocation.until("backing-off")
    before = server.query(tries.format(theirs.id))
    serve(one)
    await mine.result()
    assert await theirs.status() == "backing-off"
    assert server.query(tries.format(theirs.id)) == before
    serve(other)
    await theirs.result()


@pytest.mark.anyio
async def test_agents_share_a_client_over_crashes_and_services(serve: Serve) -> None:
    tour.offline.reset()
    model = AsyncOpenAI(base_url=tour.offline.start(), api_key="none", max_retries=0)

    async def ask() -> str:
        messages: Any = [{"role": "user", "content": "Hello"}]
        reply = await model.chat.completions.create(model="m", messages=messages)
        return str(reply.choices[0].message.content)

    services = [restate.Service(f"EndpointClient{number}") for number in range(2)]
    handlers = []
    for service in services:

        @service.handler("run")
        async def run(ctx: restate.Context) -> str:
            return await ctx.run_typed("LLM call", ask)

        handlers.append(run)
    endpoints = [serve(service) for service in services]
    answers = {(await tour.call(handler)).result for handler in handlers}
    assert len(answers) == 1

    tour.offline.latency = 0.5
    cut, untouched = [await tour.send(handler) for handler in handlers]
    for invocation in (cut, untouched):
        await invocation.until("LLM call")
    endpoints[0].crash()
    assert await untouched.result() in answers
    assert untouched.journal.attempts("LLM call") == [1]
    serve(services[0])
    assert await cut.result() in answers
    assert cut.journal.attempts("LLM call") == [2]
    tour.offline.reset()
    assert {(await tour.call(handler)).result for handler in handlers} == answers


@pytest.mark.anyio
async def test_what_went_on_by_itself_needs_no_resuming(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was backing off when it was looked up, and has completed when it is to be resumed."""
    service = restate.Service("EndpointQuick")

    @service.handler("run")
    async def run(ctx: restate.Context) -> str:
        return "done"

    serve(service)
    finished = await tour.call(run)
    monkeypatch.setattr(server, "query", lambda _: [{"id": finished.id}])
    serve(service)
    monkeypatch.setattr(server, "query", lambda _: [{"id": "inv_that_is_none"}])
    with pytest.raises(tour.TourError, match="400"):
        serve(service)
