"""What cells show: the prints of the handlers that they wait for, and nothing of any thread."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from tests.helpers.kernels import Kernel

SETUP = """
import asyncio, gc, time, tour
import restate
from datetime import timedelta
tour.start()
soon = restate.InvocationRetryPolicy(
    initial_interval=timedelta(milliseconds=50), max_interval=timedelta(milliseconds=50)
)
service = restate.Service("OutputAgent", invocation_retry_policy=soon)

def say(word: str) -> None:
    print("step", word)

async def say_softly(word: str) -> None:
    print("async step", word)

@service.handler("run")
async def run(ctx: restate.Context, word: str) -> str:
    print("handler", word)
    await ctx.run_typed("say", say, word=word)
    await ctx.run_typed("say softly", say_softly, word=word)
    return word.upper()

@service.handler("slow")
async def slow(ctx: restate.Context, word: str) -> None:
    await asyncio.sleep(0.2)
    print("handler", word)

@service.handler("hang")
async def hang(ctx: restate.Context, where: str) -> None:
    async def for_long() -> None:
        await asyncio.sleep(30)
    match where:
        case "step":
            await ctx.run_typed("hang", for_long)
        case "thread":
            await ctx.run_typed("hang", lambda: time.sleep(1))
        case "handler":
            await asyncio.sleep(30)
        case "task":
            task = asyncio.create_task(for_long())
            await ctx.run_typed("hang", for_long)
        case "typo":
            nobody_knows_this_name

endpoint = tour.serve(service)
ingress = tour.server.up().ingress
"""
PRINTS = "handler {0}\nstep {0}\nasync step {0}\n"


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    with Kernel() as running:
        shown = running.good(SETUP)
        assert shown.stderr == ""
        yield running


def test_a_call_s_prints_stand_in_its_cell_before_its_result(kernel: Kernel) -> None:
    for _ in range(3):
        cell = kernel.good('print("before")\n(await tour.call(run, "a")).result')
        assert cell.stdout == "before\n" + PRINTS.format("a")
        assert cell.result == "'A'"
        assert cell.order[-1] == "result"


def test_a_send_s_prints_stand_in_the_cell_that_waits(kernel: Kernel) -> None:
    sent = kernel.good('question = await tour.send(slow, "b")')
    assert sent.stdout == ""
    elsewhere = kernel.good('time.sleep(0.5)\nprint("unrelated")')
    assert elsewhere.stdout == "unrelated\n"
    assert kernel.good("await question.status()").stdout == ""
    assert kernel.good('print("now")\nawait question.result()').stdout == "now\nhandler b\n"
    assert kernel.good("await question.result()").stdout == ""


def test_two_at_once_print_where_each_is_awaited(kernel: Kernel) -> None:
    kernel.good('one, two = await tour.send(run, "one"), await tour.send(run, "two")')
    kernel.good("time.sleep(0.3)")
    assert kernel.good("await two.result()").stdout == PRINTS.format("two")
    assert kernel.good("await one.result()").stdout == PRINTS.format("one")


def test_a_call_by_curl_prints_in_its_cell(kernel: Kernel) -> None:
    cell = kernel.good("""!curl --silent {ingress}/OutputAgent/run --json '"c"'""")
    assert '"C"' in cell.stdout
    assert PRINTS.format("c") in cell.stdout
    assert kernel.good("time.sleep(0.2)").stdout == ""


@pytest.mark.parametrize("where", ["step", "thread", "handler", "task", "typo"])
def test_a_crash_with_work_in_flight_prints_nothing(kernel: Kernel, where: str) -> None:
    cells = [
        f'question = await tour.send(hang, "{where}")\nawait asyncio.sleep(0.3)',
        "endpoint.crash()",
        "gc.collect(); await asyncio.sleep(0.3)",
        "endpoint = tour.serve(service)\nawait question.kill()",
        "await asyncio.sleep(0.2)\nendpoint.crash()\nendpoint = tour.serve(service)",
        "await asyncio.sleep(1)" if where == "thread" else "gc.collect()",
    ]
    for source in cells:
        shown = kernel.good(source)
        assert (shown.stdout, shown.stderr) == ("", ""), source


def test_a_crash_after_a_kill_prints_nothing(kernel: Kernel) -> None:
    shown = kernel.good("""
for _ in range(10):
    question = await tour.send(hang, "handler")
    await asyncio.sleep(0.05)
    await question.kill()
    await asyncio.sleep(0.1)
    endpoint.crash()
    gc.collect()
    endpoint = tour.serve(service)
""")
    assert (shown.stdout, shown.stderr) == ("", "")


def test_a_failure_is_shown_as_one_sentence(kernel: Kernel) -> None:
    cell = kernel.run('await tour.call(run, "word", key="none")')
    assert cell.error == "TourError: OutputAgent is a service and takes no key; drop key='none'."
    cell = kernel.run('await tour.call(hang, "typo")')
    assert cell.error.startswith("TourError: OutputAgent/hang fails again and again: ")
    assert "'nobody_knows_this_name' is not defined" in cell.error
    assert "\n" not in cell.error
    assert (cell.stdout, cell.stderr) == ("", "")


def test_the_stop_button_ends_a_wait_and_nothing_else(kernel: Kernel) -> None:
    group = int(kernel.good("import os; os.getpgid(0)").result)
    number = kernel.good("tour.server.pid()").result
    threading.Timer(1, os.killpg, (group, signal.SIGINT)).start()  # as Jupyter does
    cell = kernel.run('await tour.call(hang, "handler")')
    assert "KeyboardInterrupt" in cell.error or "CancelledError" in cell.error
    assert kernel.good("endpoint").result == "<Endpoint of OutputAgent: up>"
    assert kernel.good('(await tour.call(run, "d")).result').result == "'D'"
    assert kernel.good("tour.server.pid()").result == number
    kernel.good("await tour.latest(hang).kill()")
