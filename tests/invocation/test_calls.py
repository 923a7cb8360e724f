"""Invocations: called, sent, awaited, answered, stopped; and no wait without an end."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
import restate
from pydantic import BaseModel

import tour
from tests.helpers.serving import Serve
from tour import server
from tour.invocation import Invocation, Patience
from tour.journal import State

pytestmark = pytest.mark.anyio

Handler = Callable[..., Awaitable[Any]]
SLOW_RETRIES = restate.InvocationRetryPolicy(initial_interval=timedelta(seconds=30))
FAST_RETRIES = restate.InvocationRetryPolicy(
    initial_interval=timedelta(milliseconds=80), max_interval=timedelta(milliseconds=80)
)


class Order(BaseModel):
    item: str
    amount: int = 1


def approver(name: str) -> tuple[restate.Service, Handler]:
    """Return a service whose handler waits for an approval, and that handler."""
    service = restate.Service(name)

    @service.handler("run")
    async def run(ctx: restate.Context) -> str:
        _, approval = ctx.awakeable(type_hint=Any)
        return f"approved: {await approval}"

    return service, run


# ---- what goes in and what comes out


async def test_values_models_and_nothing_come_back_as_what_they_are(serve: Serve) -> None:
    service = restate.Service("InvocationTypes")

    @service.handler("double")
    async def double(ctx: restate.Context, order: Order) -> Order:
        return Order(item=order.item, amount=2 * order.amount)

    @service.handler("nothing")
    async def nothing(ctx: restate.Context) -> None: ...

    @service.handler("echo")
    async def echo(ctx: restate.Context, what: list[int]) -> list[int]:
        return what

    raw_bytes = restate.serde.BytesSerde()

    @service.handler("raw", input_serde=raw_bytes, output_serde=raw_bytes)
    async def raw(ctx: restate.Context, what: bytes) -> bytes:
        return what[::-1]

    serve(service)
    run = await tour.call(double, Order(item="tea", amount=2))
    assert run.result == Order(item="tea", amount=4)
    assert (await tour.call(double, {"item": "tea"})).result == Order(item="tea", amount=2)
    assert (await tour.call(nothing)).result is None
    assert (await tour.call(echo, [1, 2])).result == [1, 2]
    assert (await tour.call(raw, b"\x00\xff")).result == b"\xff\x00"
    assert repr(run) == "<Finished of InvocationTypes/double>"
    assert await run.status() == "completed"
    sent = await tour.send(double, {"item": "tea"})
    assert repr(sent) == "<Invocation of InvocationTypes/double>"
    assert await sent.result() == await sent.result() == Order(item="tea", amount=2)


async def test_objects_and_workflows_need_a_key_and_services_take_none(serve: Serve) -> None:
    service, on_service = approver("InvocationKeyless")
    thing, flow = restate.VirtualObject("InvocationObject"), restate.Workflow("InvocationFlow")

    @thing.handler("run")
    async def on_object(ctx: restate.ObjectContext) -> str:
        return ctx.key()

    @flow.main("run")
    async def on_workflow(ctx: restate.WorkflowContext) -> str:
        return ctx.key()

    serve(thing, flow)
    key = "a/b ü?#%"
    assert (await tour.call(on_object, key=key)).result == key
    run = await tour.call(on_workflow, key="once")
    assert run.result == "once"
    assert run.target == "InvocationFlow/once/run"
    with pytest.raises(tour.TourError, match=r"is a virtual object: say which one with key="):
        await tour.send(on_object)
    with pytest.raises(tour.TourError, match=r"is a workflow: say which one with key="):
        await tour.send(on_workflow)
    with pytest.raises(tour.TourError, match="takes no key"):
        await tour.send(on_service, key="x")
    assert service.name == "InvocationKeyless"


async def test_latest_finds_the_newest_of_a_handler(serve: Serve) -> None:
    service = restate.VirtualObject("InvocationLatest")

    @service.handler("run")
    async def run(ctx: restate.ObjectContext, word: str) -> str:
        return word

    @service.handler("other")
    async def other(ctx: restate.ObjectContext, word: str) -> str:
        return word

    serve(service)
    with pytest.raises(tour.TourError, match="knows no invocation of InvocationLatest/run"):
        tour.latest(run)
    for key, word in (("b", "one"), ("a", "two")):
        await tour.call(run, word, key=key)
    await tour.call(other, "three", key="c")
    assert await tour.latest(run).result() == "two"


# ---- failures


async def test_a_failure_is_one_typed_error_without_a_page_of_traceback(serve: Serve) -> None:
    service = restate.Service("InvocationFailure")

    @service.handler("run")
    async def run(ctx: restate.Context) -> None:
        raise restate.TerminalError("no tea left", status_code=418)

    serve(service)
    invocation = await tour.send(run)
    with pytest.raises(tour.InvocationFailed) as failed:
        await invocation.result()
    assert (failed.value.message, failed.value.status) == ("no tea left", 418)
    shown = "InvocationFailed: InvocationFailure/run failed with status 418: no tea left"
    assert failed.value._render_traceback_() == [shown]
    assert invocation.journal.failure
    with pytest.raises(tour.InvocationFailed, match="no tea left"):
        await tour.call(run)


async def test_a_call_that_ends_at_once_is_one_request_and_a_longer_one_is_one_invocation(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    service = restate.Service("InvocationAtOnce")
    begun = []

    @service.handler("wait")
    async def wait(ctx: restate.Context, seconds: float) -> float:
        begun.append(seconds)
        print(f"waiting {seconds}")
        await asyncio.sleep(seconds)
        if not seconds:
            raise restate.TerminalError("nothing to wait for", 422)
        return seconds

    asked = []

    def noting(request: Callable[..., Any]) -> Callable[..., Any]:
        async def noted(method: str, path: str, **options: Any) -> Any:
            asked.append(path)
            return await request(method, path, **options)

        return noted

    for name in ("ask", "wait_for"):
        monkeypatch.setattr(server, name, noting(getattr(server, name)))
    serve(service)
    quick = await tour.call(wait, 0.001)
    assert (quick.result, quick.journal.status) == (0.001, "completed")
    with pytest.raises(tour.InvocationFailed, match="nothing to wait for") as failed:
        await tour.call(wait, 0)
    assert failed.value.status == 422
    assert asked == ["/InvocationAtOnce/wait"] * 2

    slow = await tour.call(wait, 0.6)
    assert (slow.result, slow.id) == (0.6, tour.latest(wait).id)
    assert asked[2:] == ["/InvocationAtOnce/wait", "/InvocationAtOnce/wait/send"]
    assert begun == [0.001, 0, 0.6]
    assert capsys.readouterr().out == "waiting 0.001\nwaiting 0\nwaiting 0.6\n"


async def test_what_restate_does_not_know_is_a_failure_with_404(serve: Serve) -> None:
    service, unserved = approver("InvocationMissing")
    with pytest.raises(tour.InvocationFailed, match="InvocationMissing") as failed:
        await tour.call(unserved)
    assert failed.value.status == 404

    serve(service)
    later = restate.Service("InvocationMissing")

    @later.handler("late")
    async def late(ctx: restate.Context) -> None: ...

    with pytest.raises(tour.InvocationFailed, match="late") as failed:
        await tour.send(late)
    assert failed.value.status == 404


async def test_a_wrong_argument_is_a_failure(serve: Serve) -> None:
    service = restate.Service("InvocationArgument")

    @service.handler("run")
    async def run(ctx: restate.Context, order: Order) -> None: ...

    serve(service)
    for wrong in ({"amount": 1}, {"item": 1}):
        with pytest.raises(tour.InvocationFailed, match="InvocationArgument/run failed"):
            await tour.call(run, wrong)
    with pytest.raises(tour.TourError, match="InvocationArgument/run takes Order, not 'tea'"):
        await tour.call(run, "tea")


# ---- answered


async def test_approve_and_reject_answer_what_is_waited_for(serve: Serve) -> None:
    service, run = approver("InvocationApproval")
    serve(service)
    for value in (True, {"by": "Ada"}):
        invocation = await tour.send(run)
        await tour.approve(invocation, value)  # the agent may still be on its way there
        assert await invocation.result() == f"approved: {value}"

    invocation = await tour.send(run)
    await tour.reject(invocation, "not today")
    with pytest.raises(tour.InvocationFailed, match="not today"):
        await invocation.result()
    assert [step.state for step in invocation.journal.entries] == ["failed"]


async def test_approve_reaches_the_child_that_waits(serve: Serve) -> None:
    service, child = approver("InvocationChild")
    parent = restate.Service("InvocationParent")

    @parent.handler("run")
    async def run(ctx: restate.Context) -> str:
        return await ctx.service_call(child, arg=None)

    serve(service, parent)
    invocation = await tour.send(run)
    await tour.approve(invocation, "yes")
    assert await invocation.result() == "approved: yes"
    assert [journal.steps for journal in invocation.journal.walk()] == [
        ["InvocationChild/run"],
        ["awakeable"],
    ]


async def test_approvals_are_answered_oldest_first(serve: Serve) -> None:
    service = restate.Service("InvocationTwice")

    @service.handler("run")
    async def run(ctx: restate.Context) -> list[str]:
        (_, first), (_, second) = ctx.awakeable(type_hint=str), ctx.awakeable(type_hint=str)
        return [await first, await second]

    serve(service)
    invocation = await tour.send(run)
    await tour.approve(invocation, "a")
    await invocation_has(invocation, "completed", 1)
    await tour.approve(invocation, "b")
    assert await invocation.result() == ["a", "b"]


async def invocation_has(invocation: Invocation, state: State, number: int) -> None:
    """Wait until so many steps are in this state."""
    for _ in range(200):
        if [step.state for step in invocation.journal.entries].count(state) == number:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"no {state} {number} times: {invocation.journal.entries}")


async def test_nothing_to_approve_is_an_error(serve: Serve) -> None:
    service = restate.Service("InvocationNoApproval")

    @service.handler("run")
    async def run(ctx: restate.Context) -> None: ...

    serve(service)
    invocation = await tour.send(run)
    await invocation.result()
    for answer in (tour.approve, tour.reject):
        with pytest.raises(tour.TourError, match="it waits for no approval"):
            await answer(invocation)


# ---- stopped, and gone on with


async def test_cancel_lets_the_handler_clean_up_and_kill_does_not(serve: Serve) -> None:
    service = restate.Service("InvocationStopped")

    @service.handler("run")
    async def run(ctx: restate.Context) -> None:
        _, approval = ctx.awakeable(type_hint=Any)
        try:
            await approval
        except restate.TerminalError:
            await ctx.run_typed("clean up", lambda: None)
            raise

    serve(service)
    steps = {"cancel": ["awakeable", "clean up"], "kill": ["awakeable"]}
    for how, expected in steps.items():
        invocation = await tour.send(run)
        await invocation.until("awakeable")
        await getattr(invocation, how)()
        with pytest.raises(tour.InvocationFailed) as failed:
            await invocation.result()
        assert failed.value.status == 409
        assert invocation.journal.steps == expected
        with pytest.raises(tour.TourError, match="it waits for no approval"):
            await tour.approve(invocation)


async def test_resume_spares_the_back_off(serve: Serve) -> None:
    service = restate.Service("InvocationResume", invocation_retry_policy=SLOW_RETRIES)
    mended = threading.Event()

    @service.handler("run")
    async def run(ctx: restate.Context) -> str:
        if not mended.is_set():
            raise ConnectionError("not yet")
        return "now"

    serve(service)
    invocation = await tour.send(run)
    await invocation.until("backing-off")
    mended.set()
    began = time.monotonic()
    await invocation.resume()
    assert await invocation.result() == "now"
    assert time.monotonic() - began < 5


async def test_restart_keeps_the_first_steps_and_pays_the_rest_again(serve: Serve) -> None:
    service = restate.Service("InvocationRestart")
    ran: list[str] = []
    version = "one"

    def step(name: str) -> str:
        ran.append(name)
        return f"{name} {version}"

    @service.handler("run")
    async def run(ctx: restate.Context) -> list[str]:
        return [
            await ctx.run_typed("a", step, name="a"),
            await ctx.run_typed("b", step, name="b"),
            await ctx.run_typed("c", step, name="c"),
        ]

    serve(service)
    first = await tour.call(run)
    version = "two"
    for keeping, result, paid in (
        (0, ["a two", "b two", "c two"], ["a", "b", "c"]),
        (1, ["a one", "b two", "c two"], ["b", "c"]),
        (2, ["a one", "b one", "c two"], ["c"]),
        (3, ["a one", "b one", "c one"], []),
    ):
        ran.clear()
        again = await first.restart(keeping=keeping)
        assert await again.result() == result
        assert ran == paid
        kept = [0] * keeping + [1] * (3 - keeping)
        assert [again.journal.attempts(name)[0] for name in "abc"] == kept
    for wrong in (-1, 4):
        with pytest.raises(tour.TourError, match=f"has 3 steps, not {wrong}"):
            await first.restart(keeping=wrong)


async def test_restart_runs_where_the_service_is_served_now(serve: Serve) -> None:
    service = restate.Service("InvocationMoved")

    @service.handler("run")
    async def run(ctx: restate.Context) -> str:
        return await ctx.run_typed("step", lambda: "done")

    here = serve(service)
    first = await tour.call(run)
    here.crash()
    serve(service, port=here.port + 1)
    assert await (await first.restart(keeping=0)).result() == "done"


async def test_what_has_not_completed_cannot_be_restarted(serve: Serve) -> None:
    service, run = approver("InvocationRestartEarly")
    serve(service)
    invocation = await tour.send(run)
    await invocation.until("awakeable")
    with pytest.raises(tour.TourError, match="Restate answers 4"):
        await invocation.restart(keeping=0)
    await invocation.kill()


# ---- no wait without an end


async def test_a_typo_ends_the_wait_and_is_mended(serve: Serve) -> None:
    service = restate.Service("InvocationTypo", invocation_retry_policy=FAST_RETRIES)

    @service.handler("run")
    async def run(ctx: restate.Context) -> str:
        await ctx.run_typed("before", lambda: None)
        return nmae  # type: ignore[name-defined, no-any-return]  # noqa: F821

    serve(service)
    began = time.monotonic()
    invocation = await tour.send(run)
    with pytest.raises(tour.TourError, match=r"again and again.*'nmae' is not defined") as said:
        await invocation.result()
    assert time.monotonic() - began < 15
    assert "await run.resume()" in str(said.value)
    assert "\n" not in str(said.value)
    await invocation.until("paused")

    with pytest.raises(tour.TourError, match=r"is paused: .*'nmae' is not defined"):
        await invocation.result()
    for wait in (invocation.until("never"), tour.approve(invocation)):
        with pytest.raises(tour.TourError, match="is paused"):
            await wait

    mended = restate.Service("InvocationTypo")

    @mended.handler("run")
    async def good(ctx: restate.Context) -> str:
        await ctx.run_typed("before", lambda: None)
        return "mended"

    serve(mended)
    await invocation.resume()
    assert await invocation.result() == "mended"
    assert invocation.journal.attempts("before") == [1]


async def test_a_step_that_fails_in_ever_the_same_way_ends_the_wait(serve: Serve) -> None:
    service = restate.Service("InvocationBadStep", invocation_retry_policy=FAST_RETRIES)

    @service.handler("run")
    async def run(ctx: restate.Context) -> Any:
        return await ctx.run_typed("LLM call", object)

    serve(service)
    invocation = await tour.send(run)
    with pytest.raises(tour.TourError, match=r"again and again.*object is not JSON"):
        await invocation.result()
    await invocation.kill()


async def test_failures_that_pass_do_not_end_the_wait(serve: Serve) -> None:
    service = restate.Service("InvocationPassing", invocation_retry_policy=FAST_RETRIES)
    tries = iter(range(100))

    @service.handler("run")
    async def run(ctx: restate.Context) -> int:
        if (number := next(tries)) < 25:
            raise ConnectionError(f"number {number}")
        return number

    serve(service)
    assert (await tour.call(run)).result == 25


async def test_nobody_serves_ends_the_wait_and_serving_goes_on(serve: Serve) -> None:
    service = restate.Service("InvocationNobody", invocation_retry_policy=FAST_RETRIES)

    @service.handler("run")
    async def run(ctx: restate.Context) -> str:
        return "somebody"

    serve(service).crash()
    invocation = await tour.send(run)
    with pytest.raises(tour.TourError, match="Nobody serves InvocationNobody/run now"):
        await invocation.result()
    assert await invocation.status() != "paused"
    serve(service)
    assert await invocation.result() == "somebody"


async def test_time_runs_out_with_the_state_and_the_next_step(serve: Serve) -> None:
    service, run = approver("InvocationTimeout")
    serve(service)
    invocation = await tour.send(run)
    await invocation.until("awakeable")
    with pytest.raises(tour.TourError, match=r"Waited 0\.3 s\. InvocationTimeout/run is ") as said:
        await invocation.result(timeout=0.3)
    assert await invocation.status() in ("running", "suspended")
    assert "\n" not in str(said.value)
    with pytest.raises(tour.TourError, match=r"Waited 0\.3 s"):
        await invocation.until("no such step", timeout=0.3)
    with pytest.raises(tour.TourError, match=r"Waited 0\.3 s"):
        await tour.call(run, timeout=0.3)
    await tour.approve(invocation)
    assert await invocation.result() == "approved: True"
    with pytest.raises(tour.TourError, match=r"completed before 'no such step'"):
        await invocation.until("no such step")
    await tour.latest(run).kill()


@pytest.mark.parametrize("looks", [0, 2], ids=["before its id is known", "after"])
async def test_a_server_killed_during_the_wait_comes_back(
    serve: Serve, capsys: pytest.CaptureFixture[str], looks: int
) -> None:
    service = restate.Service("InvocationServerDies")
    begun = threading.Event()

    async def slow() -> None:
        begun.set()
        await asyncio.sleep(1)

    @service.handler("run")
    async def run(ctx: restate.Context) -> str:
        await ctx.run_typed("before", lambda: None)
        await ctx.run_typed("slow", slow)
        return "done"

    serve(service)
    waiting = asyncio.create_task(tour.call(run))
    await asyncio.to_thread(begun.wait, 10)
    await asyncio.sleep(looks * Patience.interval)
    os.kill(server.pid(), signal.SIGKILL)
    finished = await waiting
    assert finished.result == "done"
    assert finished.journal.attempts("before") == [1]
    assert finished.journal.attempts("slow")[0] <= 2
    assert capsys.readouterr().out.count("restate-server had died") == 1


async def test_a_wait_may_be_given_up(serve: Serve) -> None:
    service, run = approver("InvocationGivenUp")
    serve(service)
    invocation = await tour.send(run)
    waiting = asyncio.create_task(invocation.result())
    await invocation.until("awakeable")
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
    await tour.approve(invocation, 1)
    assert await invocation.result() == "approved: 1"


@pytest.mark.anyio
async def test_quick_retries_that_end_well_do_not_end_the_wait(serve: Serve) -> None:
    """Six failures alike within a second: the step's own policy, and no reason to give up."""
    service = restate.Service("InvocationQuick")
    failures = iter([OSError("not yet")] * 6)

    async def fails_six_times() -> str:
        for failure in failures:
            raise failure
        return "done"

    @service.handler("run")
    async def run(ctx: restate.Context) -> str:
        quick = timedelta(milliseconds=150)
        options = restate.RunOptions[str](
            max_attempts=9, initial_retry_interval=quick, max_retry_interval=quick
        )
        return await ctx.run_typed("flaky", fails_six_times, options)

    serve(service)
    invocation = await tour.send(run)
    assert await invocation.result() == "done"
    assert invocation.journal.attempts("flaky") == [7]
