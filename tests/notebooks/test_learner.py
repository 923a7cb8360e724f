"""What learners do to notebook 1: edit, repeat, skip, restart, mistype; in a real kernel."""

import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import psutil
import pytest

from tests.helpers.exercise_source import NOTEBOOKS, code_cells, read
from tests.helpers.kernels import Kernel
from tour import endpoint, server

NOTEBOOK = read(NOTEBOOKS[0])
START, ASK = "tour.start()", "answer = await tour.call(run, WeatherPrompt())"
SERVE = "endpoint = tour.serve(weather)"
SNIPPETS = [cell.source for cell in code_cells(NOTEBOOK, "snippet")]
ONCE = "[answer.journal.attempts(n) == t for n, t in (('LLM call', [1, 1]), ('get weather', [1]))]"


def cell(beginning: str) -> str:
    """Return the first code cell of the notebook that has this text."""
    return next(str(c.source) for c in code_cells(NOTEBOOK) if beginning in c.source)


def ask(prompt: str) -> str:
    """Return the notebook's question with another prompt."""
    return cell(ASK).replace("WeatherPrompt()", f"WeatherPrompt(prompt={prompt!r})")


AGENT = cell('restate.Service("WeatherAgent")')
CITY = "What is the weather like in {}?"


@pytest.fixture(scope="module")
def living() -> Iterator[Kernel]:
    with Kernel() as running:
        yield running


@pytest.fixture
def kernel(living: Kernel) -> Kernel:
    """A kernel in which the notebook has been run as far as the served agent."""
    prepare(living)
    return living


def prepare(kernel: Kernel) -> None:
    for source in [cell(START), *SNIPPETS, cell(SERVE)]:
        kernel.good(source)


# ---- edits


@pytest.mark.parametrize("city", ["Ulaanbaatar", "Port-au-Prince", "São Paulo"])
def test_another_city(kernel: Kernel, city: str) -> None:
    assert kernel.good(ask(CITY.format(city))).result == f"'{city}: 23 °C, sunny.'"
    assert kernel.good(ONCE).result == "[True, True]"


def test_two_cities_in_one_question(kernel: Kernel) -> None:
    shown = kernel.good(ask("What is the weather in Lagos and Oslo?")).result
    assert "Lagos: 23 °C, sunny." in shown
    assert "Oslo: 23 °C, sunny." in shown
    assert kernel.good("answer.journal.attempts('get weather')").result == "[1, 1]"


def test_the_agent_cell_run_again_after_an_edit(kernel: Kernel) -> None:
    edited = AGENT.replace('str(reply["content"])', '"Sure! " + reply["content"]')
    assert edited != AGENT
    kernel.good(edited)
    kernel.good(cell(SERVE))
    assert kernel.good(cell(ASK)).result == "'Sure! San Francisco: 23 °C, sunny.'"
    assert kernel.good(ONCE).result == "[True, True]"
    kernel.good(cell("async def fetch_weather").replace("sunny", "rain"))  # no serving again
    assert kernel.good(cell(ASK)).result == "'Sure! San Francisco: 23 °C, rain.'"


def test_cells_twice_and_out_of_order(kernel: Kernel) -> None:
    answer = "'San Francisco: 23 °C, sunny.'"
    for sources in (
        [cell(SERVE), cell(SERVE)],
        [cell(START), cell(START)],
        SNIPPETS,  # the agent is another object now, and the old one still serves
        [*reversed(SNIPPETS[1:5]), *SNIPPETS],
        [AGENT, AGENT, cell(SERVE)],
        [cell("endpoint.stop()").splitlines()[2], cell(SERVE)],
    ):
        for source in sources:
            kernel.good(source)
        assert kernel.good(cell(ASK)).result == answer
        assert kernel.good(ONCE).result == "[True, True]"


def test_the_cells_of_a_crash_run_twice(kernel: Kernel) -> None:
    kernel.good("working_tool = fetch_weather")
    sabotage = cell("def read_city(call: dict[str, Any]) -> str:\n    endpoint.crash")
    send = cell('await question.until("backing-off")')
    mended = cell("read_city = working_read_city")
    for _ in range(2):
        for source in (sabotage, send):
            kernel.good(source)
        assert kernel.good(mended).result == "'Denver: 23 °C, sunny.'"
        kernel.good(cell('assert question.journal.attempts("LLM call") == [1, 1]'))


# ---- mistakes


def test_a_typo_is_one_sentence_and_mended(kernel: Kernel) -> None:
    kernel.good(AGENT.replace('reply.get("tool_calls")', 'reply.gte("tool_calls")'))
    kernel.good(cell(SERVE))
    began = time.monotonic()
    shown = kernel.run(cell(ASK))
    assert time.monotonic() - began < 20
    assert shown.error.startswith("TourError: WeatherAgent/run fails again and again: ")
    assert "no attribute 'gte'" in shown.error
    assert "\n" not in shown.error
    assert shown.stderr == ""
    for source in (AGENT, cell(SERVE), "run_again = tour.latest(run)", "await run_again.resume()"):
        kernel.good(source)
    assert kernel.good("await run_again.result()").result == "'San Francisco: 23 °C, sunny.'"
    assert kernel.good("run_again.llm_calls").result == "2", "the typo has cost a model call"


def test_a_wrong_key_is_one_sentence_after_one_attempt(kernel: Kernel) -> None:
    kernel.good('os.environ["OPENAI_API_KEY"] = "sk-wrong"')
    assert "(OPENAI_BASE_URL)" in kernel.good(cell(START)).stdout
    for source in (*SNIPPETS, cell(SERVE), "tour.offline.fail(status=401)"):
        kernel.good(source)
    shown = kernel.run(cell(ASK))
    assert shown.error.startswith("InvocationFailed: WeatherAgent/run failed with status 401: ")
    assert "\n" not in shown.error
    assert kernel.good("tour.latest(run).journal.attempts('LLM call')").result == "[1]"
    kernel.good('del os.environ["OPENAI_API_KEY"], os.environ["OPENAI_BASE_URL"]')
    prepare(kernel)
    assert kernel.good(cell(ASK)).result == "'San Francisco: 23 °C, sunny.'"


def test_an_answer_that_is_no_question_is_one_sentence(kernel: Kernel) -> None:
    shown = kernel.run(cell(ASK).replace("WeatherPrompt()", '"What is the weather?"'))
    assert shown.error.startswith("TourError: WeatherAgent/run takes WeatherPrompt, not ")
    assert "\n" not in shown.error


# ---- what happens around the notebook


def test_the_notebook_s_port_is_taken(kernel: Kernel) -> None:
    kernel.good("endpoint.stop()")
    with closing(socket.create_server(("127.0.0.1", endpoint.port_of("WeatherAgent")))):
        shown = kernel.run(cell(SERVE))
        assert shown.error.startswith("TourError: Port ")
        assert "another kernel" in shown.error
        assert "\n" not in shown.error
        elsewhere = shown.error.split("elsewhere: tour.serve(..., ")[1].removesuffix(").")
        kernel.good(f"endpoint = tour.serve(weather, {elsewhere})")
        assert kernel.good(cell(ASK)).result == "'San Francisco: 23 °C, sunny.'"
        kernel.good("endpoint.stop()")
    kernel.good(cell(SERVE))
    assert kernel.good(cell(ASK)).result == "'San Francisco: 23 °C, sunny.'"


def test_restate_s_own_ports_are_taken(tmp_path: Path) -> None:
    held = []
    with ExitStack() as holding, Kernel(TOUR_HOME=str(tmp_path)) as other:
        for port in server.DEFAULT_PORTS:
            with suppress(OSError):  # taken by somebody else: as good, but they may let go of it
                holding.enter_context(closing(socket.create_server(("127.0.0.1", port))))
                held.append(port)
        try:
            shown = other.good(cell(START)).stdout
            got = map(int, re.findall(r"127\.0\.0\.1:(\d+)", shown.splitlines()[0]))
            taken = [
                usual
                for usual, port in zip(server.DEFAULT_PORTS, got, strict=True)
                if usual != port
            ]
            assert {*held} <= {*taken}
            assert not taken or f" ({' and '.join(map(str, taken))} taken)" in shown
            prepare(other)
            assert other.good(cell(ASK)).result == "'San Francisco: 23 °C, sunny.'"
        finally:
            started = other.good("import os, signal\nos.kill(tour.server.pid(), signal.SIGKILL)")
            assert not started.error


def test_the_server_is_killed_from_outside(kernel: Kernel) -> None:
    killed = server.pid()
    os.kill(killed, signal.SIGKILL)
    psutil.Process(killed).wait(5)
    shown = kernel.good(cell(ASK))
    assert shown.stdout == "restate-server had died. It is up again, with its data.\n"
    assert shown.result == "'San Francisco: 23 °C, sunny.'"
    assert kernel.good(ONCE).result == "[True, True]"


def test_the_kernel_is_restarted_in_the_middle(kernel: Kernel) -> None:
    kernel.good("working_tool = fetch_weather")
    kernel.good(cell("in Bergen?"))
    kernel.restart()
    assert (
        kernel.good(cell("await tour.latest(agent.run).result()")).result
        == "'Bergen: 23 °C, sunny.'"
    )
    journal = "tour.latest(agent.run).journal"
    assert kernel.good(f"{journal}.attempts('LLM call')").result == "[1, 1]"
    assert kernel.good(f"{journal}.attempts('get weather')").result == "[2]"
    assert kernel.good("tour.latest(agent.run).llm_calls").result == "2"
