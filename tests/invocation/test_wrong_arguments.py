"""What is passed by mistake gets one sentence that says what to pass instead, and is not sent."""

from typing import Any

import pytest
import restate

import tour
from tests.helpers.serving import Serve
from tour import server

pytestmark = pytest.mark.anyio

bell = restate.Service("ByMistakeBell")
counter = restate.VirtualObject("ByMistakeCounter")
empty = restate.Service("ByMistakeEmpty")
Asked = pytest.mark.parametrize("ask", [tour.call, tour.send, tour.latest])


@bell.handler()
async def ring(ctx: restate.Context, times: int) -> int:
    return times


@counter.handler()
async def add(ctx: restate.ObjectContext, number: int) -> str:
    return f"{ctx.key()} {number}"


async def plain(times: int) -> int:
    return times


async def refused(ask: Any, *arguments: Any, **options: Any) -> str:
    """Return the sentence that an attempt ends in."""

    async def asked() -> None:
        await ask(*arguments, **options)

    with pytest.raises(tour.TourError) as error:
        await asked()
    sentence = str(error.value)
    assert "\n" not in sentence
    return sentence


@Asked
async def test_a_service_is_no_handler(ask: Any) -> None:
    said = await refused(ask, bell)
    assert said == "ByMistakeBell is a service: pass the function of a handler (ring)."
    assert "it has none yet" in await refused(ask, empty)
    assert "ByMistakeCounter" in await refused(ask, counter)


@Asked
async def test_a_coroutine_is_no_handler(ask: Any) -> None:
    said = await refused(ask, plain(3))
    assert said == "plain(…) is a coroutine: pass the function, as in tour.call(plain, …)."


@Asked
@pytest.mark.parametrize("given", [plain, "ring", None, 3, print, lambda ctx: None, int])
async def test_what_no_service_has_is_no_handler(ask: Any, given: Any) -> None:
    assert "is no handler: one has @service.handler() above it." in await refused(ask, given)


@pytest.mark.parametrize("ask", [tour.call, tour.send])
async def test_a_key_is_text(ask: Any, serve: Serve) -> None:
    serve(counter)
    assert await refused(ask, add, 1, key=5) == 'A key is text: key="5", not key=5.'
    assert "A key is text" in await refused(ask, add, 1, key=b"ada")
    assert (await tour.call(add, 1, key="5")).result == "5 1"


@pytest.mark.parametrize("answer", [tour.approve, tour.reject])
async def test_a_handler_is_no_invocation(answer: Any) -> None:
    said = await refused(answer, ring)
    assert said == ("ring is no invocation: pass what tour.send returned, or tour.latest(ring).")
    assert "is no invocation" in await refused(answer, "inv_1")


async def test_a_handler_is_no_service() -> None:
    with pytest.raises(tour.TourError, match="takes services, at least one"):
        tour.serve(ring)  # type: ignore[arg-type]


async def test_a_step_that_is_given_a_coroutine_ends_the_run_at_once(serve: Serve) -> None:
    service, tried = restate.Service("ByMistakeStep"), []

    @service.handler()
    async def run(ctx: restate.Context) -> int:
        tried.append(1)
        step: Any = plain(3)
        return await ctx.run_typed("count", step)

    serve(service)
    with pytest.raises(tour.InvocationFailed, match="hand over the function") as failed:
        await tour.call(run)
    assert 'as in ctx.run_typed("count", plain, …)' in failed.value.message
    assert tried == [1]


def test_nothing_was_sent() -> None:
    server.up()
    asked = "target_service_name like 'ByMistake%' and target_handler_name = 'ring'"
    assert server.query(f"select id from sys_invocation where {asked}") == []
