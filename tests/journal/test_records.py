"""The journal: what ran, how often, in what order, as the server and the endpoint recorded it."""

import asyncio
import logging
import re
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import restate
from openai import APIError, AsyncOpenAI

import tour
from tests.helpers.programs import begin, output
from tests.helpers.serving import Serve
from tour.home import home
from tour.invocation import Invocation
from tour.journal import Journal, model_calls_of, noted, tries_of

pytestmark = pytest.mark.anyio

FAST_STEP = restate.RunOptions[Any](initial_retry_interval=timedelta(milliseconds=10))
FAST_RETRIES = restate.InvocationRetryPolicy(initial_interval=timedelta(milliseconds=10))


def kinds(journal: Journal) -> list[tuple[str, str, str]]:
    return [(step.kind, step.name, step.state) for step in journal.entries]


def errors_of(journal: Journal, name: str) -> list[str | None]:
    [step] = [step for step in journal.entries if step.name == name]
    return [attempt.error for attempt in step.attempts or ()]


# ---- steps


async def test_every_try_is_counted_with_its_message(serve: Serve) -> None:
    service = restate.Service("RecordsTries")
    failures = iter(["no route", "no route", "no route", "cut"])

    async def flaky() -> str:
        for failure in failures:
            raise ConnectionError(failure)
        return "ok"

    @service.handler("run")
    async def run(ctx: restate.Context) -> str:
        await ctx.run_typed("once", lambda: None)
        return await ctx.run_typed("flaky", flaky, FAST_STEP)

    serve(service)
    journal = (await tour.call(run)).journal
    assert journal.steps == ["once", "flaky"]
    assert journal.attempts("once") == [1]
    assert journal.attempts("flaky") == [5]
    assert journal.tries("flaky") == 5
    same = "ConnectionError('no route')"
    assert errors_of(journal, "flaky") == [same, same, same, "ConnectionError('cut')", None]
    assert journal.errors == (), "a step's error is no error of the handler"
    assert [step.state for step in journal.entries] == ["completed", "completed"]
    times = [(try_.started, try_.ended) for step in journal.entries for try_ in step.attempts or ()]
    assert all(ended is not None and started <= ended for started, ended in times)
    assert times == sorted(times)
    with pytest.raises(tour.TourError, match=r"no step 'nothing'.*\['once', 'flaky'\]"):
        journal.attempts("nothing")


async def test_a_step_on_its_way_and_one_that_was_cut_off(serve: Serve) -> None:
    service = restate.Service("RecordsCut")
    slow = [True]

    async def step() -> None:
        if slow:
            await asyncio.sleep(60)

    @service.handler("run")
    async def run(ctx: restate.Context) -> None:
        await ctx.run_typed("step", step)

    endpoint = serve(service)
    invocation = await tour.send(run)
    await invocation.until("step")
    journal = invocation.journal
    assert (journal.status, kinds(journal)) == ("running", [("run", "step", "running")])
    assert errors_of(journal, "step") == [None]
    assert journal.ended is None
    endpoint.crash()
    await invocation.until("backing-off")
    assert invocation.journal.errors == (), "a closed door is no error of the handler"
    assert errors_of(invocation.journal, "step") == ["cut off"]
    slow.clear()
    serve(service)
    await invocation.result()
    assert errors_of(invocation.journal, "step") == ["cut off", None]


async def test_a_step_between_two_tries_is_retrying(serve: Serve) -> None:
    service = restate.Service("RecordsRetrying")
    later = restate.RunOptions[Any](initial_retry_interval=timedelta(seconds=30))

    def fail() -> None:
        raise ValueError("not now")

    @service.handler("run")
    async def run(ctx: restate.Context) -> None:
        await ctx.run_typed("step", fail, later)

    serve(service)
    invocation = await tour.send(run)
    await invocation.until("backing-off")
    assert kinds(invocation.journal) == [("run", "step", "retrying")]
    await invocation.kill()


async def test_steps_that_end_in_failure_and_errors_of_the_handler(serve: Serve) -> None:
    service = restate.Service("RecordsFailure", invocation_retry_policy=FAST_RETRIES)
    typos = iter(["first typo", "second typo"])

    def refuse() -> None:
        raise restate.TerminalError("refused", 403)

    @service.handler("run")
    async def run(ctx: restate.Context) -> None:
        await ctx.run_typed("before", lambda: None)
        for typo in typos:
            raise NameError(typo)
        await ctx.run_typed("refused", refuse)

    serve(service)
    invocation = await tour.send(run)
    with pytest.raises(tour.InvocationFailed):
        await invocation.result()
    journal = invocation.journal
    assert kinds(journal) == [("run", "before", "completed"), ("run", "refused", "failed")]
    assert journal.entries[1].error == "refused"
    assert journal.attempts("refused") == [1]
    assert [message for _, message in journal.errors] == [
        "NameError('first typo')",
        "NameError('second typo')",
    ]
    assert journal.failure is not None
    assert "refused" in journal.failure
    assert (journal.status, journal.ended is not None) == ("completed", True)


async def test_parallel_steps_are_counted_apart(serve: Serve) -> None:
    service = restate.Service("RecordsParallel")
    tries: list[str] = []
    all_begun = threading.Barrier(3)

    def tool(city: str) -> str:
        tries.append(city)
        if tries.count(city) == 1:
            all_begun.wait(10)
            if city == "Oslo":
                raise ConnectionError("Oslo is closed")
        return city

    @service.handler("run")
    async def run(ctx: restate.Context) -> list[str]:
        cities = ["Lagos", "Oslo", "Lima"]
        futures = [ctx.run_typed(f"weather in {c}", tool, FAST_STEP, city=c) for c in cities]
        await restate.gather(*futures)
        return [await future for future in futures]

    serve(service)
    run_ = await tour.call(run)
    assert run_.result == ["Lagos", "Oslo", "Lima"]
    names = ["weather in Lagos", "weather in Oslo", "weather in Lima"]
    assert run_.journal.steps == names
    counted = {name.split()[-1]: run_.journal.attempts(name) for name in names}
    assert counted == {city: [tries.count(city)] for city in ("Lagos", "Oslo", "Lima")}
    assert counted["Oslo"] == [2]


# ---- waits, and invocations below


async def test_sleeps_and_awakeables_wait_and_are_answered(serve: Serve) -> None:
    service = restate.Service("RecordsWaits")

    @service.handler("run")
    async def run(ctx: restate.Context) -> str:
        await ctx.sleep(timedelta(milliseconds=10))
        _, first = ctx.awakeable(type_hint=str)
        answer = await first
        await ctx.sleep(timedelta(milliseconds=10), name="nap")
        _, second = ctx.awakeable(type_hint=str)
        try:
            await second
        except restate.TerminalError as error:
            return f"{answer}, {error.message}"
        raise AssertionError

    serve(service)
    invocation = await tour.send(run)
    await invocation.until("awakeable")
    waiting = invocation.journal
    assert kinds(waiting)[1] == ("awakeable", "awakeable", "waiting")
    assert waiting.entries[1].ended is None
    assert re.fullmatch(r"sign_1\S+", waiting.entries[1].id)
    await tour.approve(invocation, "yes")
    await tour.reject(invocation, "no")
    assert await invocation.result() == "yes, no"
    assert kinds(invocation.journal) == [
        ("sleep", "sleep", "completed"),
        ("awakeable", "awakeable", "completed"),
        ("sleep", "nap", "completed"),
        ("awakeable", "awakeable", "failed"),
    ]
    assert invocation.journal.entries[3].error == "no"
    with pytest.raises(tour.TourError, match="did not run under"):
        invocation.journal.attempts("sleep")


async def test_an_awakeable_stands_where_it_was_made(serve: Serve) -> None:
    service = restate.Service("RecordsOrder")

    async def quick() -> None:
        return None

    @service.handler("run")
    async def run(ctx: restate.Context) -> None:
        await ctx.run_typed("before", quick)
        _, approval = ctx.awakeable(type_hint=bool)
        await ctx.run_typed("after", quick)
        await approval

    serve(service)
    for _ in range(15):  # the server's clock lags by milliseconds: now and then it misled
        invocation = await tour.send(run)
        await tour.approve(invocation)
        await invocation.result()
        assert invocation.journal.steps == ["before", "awakeable", "after"]


async def test_a_wait_that_lost_a_race_has_not_failed(serve: Serve) -> None:
    service = restate.Service("RecordsRace")

    @service.handler("run")
    async def run(ctx: restate.Context) -> str:
        _, approval = ctx.awakeable(type_hint=str)
        match await restate.select(approval=approval, timeout=ctx.sleep(timedelta(hours=1))):
            case ["approval", answer]:
                return str(answer)
        raise AssertionError

    serve(service)
    invocation = await tour.send(run)
    await tour.approve(invocation, "in time")
    assert await invocation.result() == "in time"
    assert kinds(invocation.journal) == [
        ("awakeable", "awakeable", "completed"),
        ("sleep", "sleep", "waiting"),
    ]


async def test_what_a_workflow_does_with_a_promise_and_an_attachment(serve: Serve) -> None:
    workflow, other = restate.Workflow("RecordsPromise"), restate.Service("RecordsAttach")

    @workflow.main()
    async def run(ctx: restate.WorkflowContext) -> str:
        promise = ctx.promise("answer", type_hint=str)
        assert await promise.peek() is None
        await promise.resolve("yes")
        with pytest.raises(restate.TerminalError, match="promise was already completed"):
            await promise.resolve("no")
        return await promise

    @other.handler("attach")
    async def attach(ctx: restate.Context, invocation: str) -> str:
        return await ctx.attach_invocation(invocation, type_hint=str)

    serve(workflow, other)
    answered = await tour.call(run, key=uuid4().hex)
    assert kinds(answered.journal) == [
        ("peek", "answer", "completed"),
        ("resolve", "answer", "completed"),
        ("resolve", "answer", "failed"),
        ("promise", "answer", "completed"),
    ]
    attached = await tour.call(attach, answered.id)
    assert attached.result == "yes"
    assert kinds(attached.journal) == [("attach", "attach", "completed")]


async def test_children_are_nested_in_the_steps_that_made_them(serve: Serve) -> None:
    child, parent = restate.VirtualObject("RecordsChild"), restate.Service("RecordsParent")

    @child.handler("work")
    async def work(ctx: restate.ObjectContext, word: str) -> str:
        if word == "bad":
            raise restate.TerminalError("bad word")
        return await ctx.run_typed("say", lambda: word)

    @parent.handler("run")
    async def run(ctx: restate.Context) -> str:
        ctx.object_send(work, "a", "sent")
        with pytest.raises(restate.TerminalError):
            await ctx.object_call(work, "b", "bad")
        return await ctx.object_call(work, "a", "called")

    serve(parent, child)
    journal = (await tour.call(run)).journal
    assert kinds(journal) == [
        ("send", "RecordsChild/a/work", "completed"),
        ("call", "RecordsChild/b/work", "failed"),
        ("call", "RecordsChild/a/work", "completed"),
    ]
    assert [child.steps for child in journal.walk()] == [journal.steps, ["say"], [], ["say"]]
    assert [child.target for child in journal.walk()][1:] == journal.steps
    assert journal.entries[1].error == "bad word"
    assert journal.entries[1].child is not None
    assert journal.entries[1].child.failure
    assert [step.attempts for step in journal.entries] == [None] * 3


# ---- ends that are not the handler's


async def test_killed_and_restarted_invocations(serve: Serve) -> None:
    service = restate.Service("RecordsKilled")

    @service.handler("run")
    async def run(ctx: restate.Context) -> str:
        await ctx.run_typed("before", lambda: None)
        await ctx.run_typed("hang", asyncio.sleep, delay=0 if mended else 60)
        return "done"

    mended: list[bool] = []
    serve(service)
    invocation = await tour.send(run)
    await invocation.until("hang")
    await invocation.kill()
    with pytest.raises(tour.InvocationFailed):
        await invocation.result()
    journal = invocation.journal
    assert kinds(journal) == [("run", "before", "completed"), ("run", "hang", "failed")]
    assert journal.status == "completed"
    assert journal.failure

    mended.append(True)
    again = await invocation.restart(keeping=1)
    assert await again.result() == "done"
    assert again.journal.steps == ["before", "hang"]
    assert [again.journal.attempts(name) for name in ("before", "hang")] == [[0], [1]]
    assert journal.attempts("before") == [1], "the first journal has changed"


async def test_what_the_server_does_not_know_is_an_error() -> None:
    service = restate.Service("RecordsUnknown")

    @service.handler("run")
    async def run(ctx: restate.Context) -> None: ...

    unknown = Invocation("inv_1laJN710ENek6OLDWArxpRCXnxNezgftVX", "RecordsUnknown/run", None)  # type: ignore[arg-type]
    with pytest.raises(tour.TourError, match="knows no invocation inv_1laJN"):
        _ = unknown.journal
    assert await unknown.status() == "unknown"


async def test_the_text_is_the_same_for_every_run(serve: Serve) -> None:
    child, parent = restate.Service("RecordsTextChild"), restate.Service("RecordsText")
    tries = []

    @child.handler("work")
    async def work(ctx: restate.Context) -> None:
        await ctx.run_typed("work", lambda: None)

    def flaky() -> None:
        tries.append(1)
        if len(tries) % 2:
            raise ConnectionError("busy")

    @parent.handler("run")
    async def run(ctx: restate.Context) -> None:
        await ctx.run_typed("flaky", flaky, FAST_STEP)
        await ctx.service_call(work, None)
        await ctx.sleep(timedelta(milliseconds=len(tries)))

    serve(parent, child)
    runs = [await tour.call(run) for _ in range(2)]
    first, second = [repr(run.journal) for run in runs]
    assert first == second == repr(runs[0].timeline)
    assert runs[0].id not in first
    assert not re.search(r"\d{4}-|:\d\d|\d (ms|s)\b|inv_|127\.", first)


# ---- counting


async def test_tries_are_counted_over_the_death_of_the_process(serve: Serve) -> None:
    agent = """
import asyncio, restate, tour
from pathlib import Path
service = restate.Service("RecordsProcesses")
async def step() -> int:
    if {slow}:
        await asyncio.sleep(60)
    return 1
@service.handler("run")
async def run(ctx: restate.Context) -> int:
    await ctx.run_typed("before", lambda: None)
    return await ctx.run_typed("step", step)
tour.serve(service)
async def main():
    {body}
asyncio.run(main())
"""
    ask = (
        'question = await tour.send(run); await question.until("step"); print("hangs", flush=True)'
    )
    other = begin(agent.format(slow=True, body=f"{ask}; await asyncio.sleep(60)"))
    assert other.stdout is not None
    assert other.stdout.readline() == "hangs\n"
    other.kill()
    other.communicate()
    answer = "question = tour.latest(run); print(await question.result())"
    count = 'print([question.journal.attempts(n) for n in ("before", "step")])'
    tries = "print([t.error for t in question.journal.entries[1].attempts])"
    said = output(agent.format(slow=False, body=f"{answer}; {count}; {tries}"))
    assert said.splitlines() == ["1", "[[1], [2]]", "[None, None]"]


async def test_threads_that_try_at_the_same_time_are_all_counted() -> None:
    """Steps that are no coroutines run in threads. Unlocked, one note in sixty was an error."""
    names = [f"inv_{uuid4().hex}" for _ in range(8)]

    def note(invocation: str) -> None:
        for step in range(500):
            with noted(invocation, step):
                model_calls_of(invocation)

    with ThreadPoolExecutor(len(names)) as pool:
        assert [*pool.map(note, names)] == [None] * len(names)
    for name in names:
        tries = tries_of(name)
        assert [*tries] == [*range(500)]
        assert all(one.ended and not one.error for [one] in tries.values())


async def test_what_another_framework_served_was_not_counted(serve: Serve) -> None:
    service = restate.Service("RecordsUncounted")

    @service.handler("run")
    async def run(ctx: restate.Context) -> None:
        await ctx.run_typed("step", lambda: None)

    serve(service)
    finished = await tour.call(run)
    with closing(sqlite3.connect(home() / "attempts.db")) as file, file:
        file.execute("delete from tries where invocation = ?", (finished.id,))
    assert finished.journal.steps == ["step"]
    with pytest.raises(tour.TourError, match="Nobody counted the tries at 'step'"):
        finished.journal.attempts("step")
    assert finished.journal.tries("step") == 1
    assert (home() / "attempts.db").stat().st_mode & 0o077 == 0 or (
        home().stat().st_mode & 0o077 == 0
    ), "others can read it"


async def test_model_calls_are_counted_failed_ones_and_children_s_too(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    tour.offline.reset()
    tour.offline.start()

    async def ask() -> str:
        messages: Any = [{"role": "user", "content": "Hello"}]
        async with AsyncOpenAI(base_url=tour.offline.url, api_key="x", max_retries=0) as model:
            reply = await model.chat.completions.create(model="m", messages=messages)
        return str(reply.choices[0].message.content)

    child, parent = restate.Service("RecordsAsked"), restate.Service("RecordsAsking")

    @child.handler("run")
    async def child_run(ctx: restate.Context) -> None:
        await ctx.run_typed("LLM call", ask, FAST_STEP)

    @parent.handler("run")
    async def run(ctx: restate.Context) -> None:
        await ctx.run_typed("LLM call", ask, FAST_STEP)
        await ctx.service_call(child_run, None)
        await ask()  # outside of a step

    serve(parent, child)
    await ask()  # outside of any invocation
    tour.offline.fail(times=2, status=500)
    run_ = await tour.call(run)
    assert run_.journal.attempts("LLM call") == [3]
    assert run_.llm_calls == 5
    assert tour.offline.calls == 6
    again = await run_.restart(keeping=2)
    await again.result()
    assert again.llm_calls == 2, "the kept child's is counted again, or the last one is not"
    tour.offline.fail()
    with pytest.raises(APIError):
        await ask()
    assert not [record for record in caplog.records if record.name.startswith("openai")]
    tour.offline.reset()


def test_the_log_level_of_openai_stays_the_learner_s(anyio_backend: str) -> None:
    code = """
import asyncio, os, restate, tour
tour.start()
from openai import AsyncOpenAI
service = restate.Service("RecordsLogging" + os.environ.get("OPENAI_LOG", ""))
@service.handler("run")
async def run(ctx: restate.Context) -> str:
    reply = await AsyncOpenAI(max_retries=0).chat.completions.create(
        model="m", messages=[{"role": "user", "content": "hi"}])
    return reply.object
tour.serve(service)
print(asyncio.run(tour.call(run)).llm_calls)
"""
    programs = {level: begin(code, {"OPENAI_LOG": level}) for level in ("info", "debug", "")}
    said = {level: program.communicate(timeout=30)[0] for level, program in programs.items()}
    shown = {level: text.splitlines() for level, text in said.items()}
    assert all("1" in lines for lines in shown.values())
    assert not [line for level in ("info", "") for line in shown[level] if "openai" in line]
    assert [line for line in shown["debug"] if "Sending HTTP Request" in line]
    assert logging.getLogger("openai").level == logging.NOTSET
