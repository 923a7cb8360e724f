"""The agents of notebook 9, on OpenAI's Agents SDK: what they do, and what the SDK does."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import agents
import pytest
import restate
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion
from restate.ext.openai import DurableRunner, durable_function_tool, restate_context

import tour
from tests.helpers.agents import agents_of, failure_of, namespace, services_of
from tests.helpers.exercise_source import NOTEBOOKS, numbered, solution, stub
from tests.helpers.outside import attach, post
from tests.helpers.programs import output
from tests.helpers.serving import Serve
from tour import server
from tour.export import export, load

pytestmark = pytest.mark.anyio

WEATHER, CLAIM, CHAT = "WeatherSdkAgent", "ClaimSdkAgent", "ChatSdkAgent"
DEFAULTS = {
    WEATHER: "What is the weather like in San Francisco?",
    CLAIM: "Process my hospital bill of 3000 USD for a broken leg.",
    CHAT: "My name is Ada.",
}
ASKED = ["call LLM", "awakeable", "request-review"]
PATHS = [f"/{WEATHER}/run", f"/{CLAIM}/run", f"/{CHAT}/ada/message"]
QUICK = timedelta(milliseconds=20)
HOLD = restate.InvocationRetryPolicy(
    initial_interval=QUICK, max_attempts=3, on_max_attempts="pause"
)
NOTEBOOK = numbered("09")
SOLVED_1, SOLVED_2 = map(solution, ("09.1", "09.2"))

Handler = Callable[..., Awaitable[Any]]

used: list[AsyncOpenAI] = []  # until they are closed, after the last test


served = agents_of("09", "weather", "claims", "chat")


@pytest.fixture(scope="module")
def module(served: ModuleType) -> ModuleType:
    use(AsyncOpenAI(max_retries=0))
    return served


@pytest.fixture
def mails() -> list[str]:
    return []


@pytest.fixture
def agent(
    module: ModuleType, mails: list[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[ModuleType]:
    async def mail(message: str, awakeable_id: str) -> None:
        mails.append(message)

    monkeypatch.setattr(module, "request_human_review", mail)
    yield module
    if len(used) > 1:
        use(used[0])


def use(client: AsyncOpenAI) -> None:
    used.append(client)
    agents.set_default_openai_client(client, use_for_tracing=False)


def serve_agent(serve: Serve, agent: ModuleType, name: str, **changes: Any) -> Handler:
    """Serve the weather agent of the notebook with something changed."""
    service = restate.Service(name, invocation_retry_policy=HOLD)

    @service.handler("run")
    async def run(ctx: restate.Context, prompt: str) -> str:
        return str(await agent.run_agent(agent.weather_agent.clone(**changes), prompt))

    serve(service)
    return run


# ---- as others see them


async def test_the_documented_calls(agent: ModuleType) -> None:
    reply = post(PATHS[0], json={"prompt": DEFAULTS[WEATHER]})
    assert (reply.status_code, reply.json()) == (200, "San Francisco: 23 °C, sunny.")
    assert post(f"/restate/call{PATHS[0]}", json={}).json() == reply.json()
    key = uuid4().hex
    for text, answer in {
        DEFAULTS[CHAT]: "Noted: your name is Ada.",
        "What is my name?": "Your name is Ada.",
    }.items():
        reply = post(f"/{CHAT}/{key}/message", json={"message": text})
        assert (reply.status_code, reply.json()) == (200, {"answer": answer})
    history = post(f"/{CHAT}/{key}/get_history").json()
    assert [each["role"] for each in history] == ["user", "assistant"] * 2


async def test_the_documented_claim(agent: ModuleType, mails: list[str]) -> None:
    sent = post(f"{PATHS[1]}/send", json={"prompt": DEFAULTS[CLAIM]})
    assert sent.status_code == 202
    run = tour.latest(agent.run_claim_agent)
    await run.until("suspended")
    await tour.approve(run)
    reply = await attach(sent.json()["invocationId"])
    assert reply.json() == "Approved. Human approval: granted."
    [mail] = mails
    assert mail.startswith("Please review: ")
    assert "3000" in mail


def test_the_snippets_make_three_services(agent: ModuleType) -> None:
    assert [each.name for each in services_of(agent)] == [WEATHER, CLAIM, CHAT]


@pytest.mark.parametrize("service", DEFAULTS)
def test_the_playground_knows_a_request(agent: ModuleType, service: str) -> None:
    schema = json.dumps(server.request("GET", f"/services/{service}/openapi").json())
    assert json.dumps({"default": DEFAULTS[service]})[1:-1] in schema


async def test_what_the_model_is_asked(agent: ModuleType) -> None:
    await tour.call(agent.run, {})
    first, second = tour.offline.requests
    system = {"role": "system", "content": agent.WEATHER}
    assert first["messages"] == [system, {"role": "user", "content": DEFAULTS[WEATHER]}]
    assert "parallel_tool_calls" not in first
    [tool] = first["tools"]
    assert tool["function"]["name"] == "get_weather"
    assert tool["function"]["description"] == "Get the current weather for a given city."
    assert tool["function"]["parameters"]["properties"]["city"]["type"] == "string"
    assert [each["role"] for each in second["messages"][2:]] == ["assistant", "tool"]


async def test_the_printed_mail_says_how_to_answer(
    module: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    await module.request_human_review("Please review: 3", "sign_1abc")
    said = capsys.readouterr().out
    assert "Please review: 3\n" in said
    assert "/restate/awakeables/sign_1abc/resolve" in said


# ---- requests that make no sense


@pytest.mark.parametrize("path", PATHS)
def test_an_empty_request_is_refused(agent: ModuleType, path: str) -> None:
    reply = post(path)
    assert reply.status_code == 400
    assert reply.json()["message"].startswith("an empty request: send")
    assert tour.offline.calls == 0


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", [{"text": "hi"}, {"prompt": 3, "message": 3}, ["hi"], "hi"])
def test_a_request_of_another_form_fails_at_once(agent: ModuleType, path: str, body: Any) -> None:
    reply = post(path, json=body)
    assert reply.status_code in {400, 500}
    assert "validation error" in reply.json()["message"]
    assert tour.offline.calls == 0


# ---- words that are not in the notebook; the loops of notebooks 1, 2 and 3 say the same


@pytest.fixture(scope="module")
def by_hand(module: ModuleType) -> Iterator[Handler]:
    service = restate.Service("SdkTestLoop")
    run = service.handler("run")(load("01").run)
    endpoint = tour.serve(service)
    yield run
    endpoint.stop()


@pytest.mark.parametrize(
    ("prompt", "cities"),
    [
        ("Do I need a coat in Ulaanbaatar today?", ["Ulaanbaatar"]),
        ("weather for Trondheim please", ["Trondheim"]),
        ("What is the weather in Lagos, Lima and Quito?", ["Lagos", "Lima", "Quito"]),
    ],
)
async def test_other_cities(
    agent: ModuleType, by_hand: Handler, prompt: str, cities: list[str]
) -> None:
    run = await tour.call(agent.run, {"prompt": prompt})
    assert run.result == " ".join(f"{city}: 23 °C, sunny." for city in cities)
    assert run.journal.steps == ["call LLM", *["get weather"] * len(cities), "call LLM"]
    assert run.llm_calls == 2
    looped = await tour.call(by_hand, {"prompt": prompt})
    assert looped.result == run.result


@pytest.mark.parametrize(
    ("prompt", "amount"),
    [
        ("Please pay my dentist: 999.99 USD for a crown.", "999.99"),
        ("Pay my doctor's bill: 12 EUR", "12"),
        ("Please pay 1000 EUR for a cure at the sea", "1000"),
    ],
)
async def test_a_small_claim_is_decided_without_a_human(
    agent: ModuleType, mails: list[str], prompt: str, amount: str
) -> None:
    run = await tour.call(agent.run_claim_agent, {"prompt": prompt})
    assert run.result == f"Approved: {amount} is not more than 1000, so I decide it myself."
    assert run.journal.steps == ["call LLM"]
    assert mails == []


@pytest.mark.parametrize(
    ("prompt", "amount", "answer"),
    [
        ("I claim $4,200 for a new heating", "4200", True),
        ("Pay 1000.01 USD for a lamp", "1000.01", False),
        ("My claim: 1200 USD for a flood", "1200", "yes"),
    ],
)
async def test_a_large_claim_waits_for_a_human(
    agent: ModuleType, mails: list[str], prompt: str, amount: str, answer: Any
) -> None:
    run = await tour.send(agent.run_claim_agent, {"prompt": prompt})
    await run.until("suspended")
    await tour.approve(run, answer)
    granted = "Approved. Human approval: granted."
    denied = "Rejected. Human approval: denied."
    assert await run.result() == (granted if answer is True else denied)
    assert run.journal.steps == [*ASKED, "call LLM"]
    assert run.journal.attempts("call LLM") == [1, 1]
    assert run.llm_calls == 2
    [mail] = mails
    assert mail.endswith(f"({amount})")


async def test_a_rejection_ends_the_claim_with_its_words(agent: ModuleType) -> None:
    run = await tour.send(agent.run_claim_agent, {})
    await tour.reject(run, "not insured")
    failed = await failure_of(run)
    assert (failed.status, "not insured" in str(failed)) == (500, True)


@pytest.mark.parametrize(
    ("fact", "question", "answer"),
    [
        ("My bag is red.", "What is my bag?", "Your bag is red."),
        ("My cat is Mia.", "Do you know my cat?", "Your cat is Mia."),
        ("Hello there.", "What is my name?", "You have not told me your name."),
    ],
)
async def test_other_conversations(
    agent: ModuleType, fact: str, question: str, answer: str
) -> None:
    key = uuid4().hex
    await tour.call(agent.message, {"message": fact}, key=key)
    run = await tour.call(agent.message, {"message": question}, key=key)
    assert run.result == {"answer": answer}
    assert run.journal.attempts("call LLM") == [1]
    other = await tour.call(agent.message, {"message": question}, key=uuid4().hex)
    assert other.result["answer"].startswith("You have not told me")


async def test_a_crash_in_a_conversation_adds_each_turn_once(
    agent: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = uuid4().hex
    tour.offline.latency = 30
    run = await tour.send(agent.message, {"message": "My cat is Mia."}, key=key)
    await run.until("call LLM")
    tour.offline.reset()
    tour.serve(agent.chat)
    assert await run.result() == {"answer": "Noted: your cat is Mia."}
    assert run.journal.attempts("call LLM") == [2]
    history = await tour.call(agent.get_history, key=key)
    assert [each["role"] for each in history.result] == ["user", "assistant"]


# ---- what the page says of the SDK and of the extension


async def test_tools_of_one_reply_run_in_the_order_of_the_calls(
    agent: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is the slowest, and still nobody overtakes it."""

    async def fetch(city: str) -> str:
        await asyncio.sleep(0.2 if city == "Lagos" else 0)
        return f"{city}: rain"

    monkeypatch.setattr(agent, "fetch_weather", fetch)
    run = await tour.call(agent.run, {"prompt": "Weather in Lagos, Lima and Quito?"})
    _, lagos, lima, quito, _ = run.journal.entries
    assert lagos.ended
    assert lima.ended
    assert lagos.ended <= lima.started <= lima.ended <= quito.started
    assert run.result == "Lagos: rain. Lima: rain. Quito: rain."


async def test_the_sdk_by_itself_runs_them_together(agent: ModuleType, serve: Serve) -> None:
    order: list[str] = []

    @agents.function_tool
    async def get_weather(city: str) -> str:
        """Get the current weather for a given city."""
        order.append(f"{city} begins")
        await asyncio.sleep(0.1)
        order.append(f"{city} ends")
        return "rain"

    service = restate.Service("SdkTestAlone")

    @service.handler("run")
    async def run(ctx: restate.Context, prompt: str) -> str:
        alone = agent.weather_agent.clone(tools=[get_weather])
        return str((await agents.Runner.run(alone, prompt)).final_output)

    serve(service)
    await tour.call(run, "Weather in Lagos and Lima?")
    assert order == ["Lagos begins", "Lima begins", "Lagos ends", "Lima ends"]


async def test_one_tool_for_all_cities_starts_them_together(
    agent: ModuleType, serve: Serve
) -> None:
    async def fetch(city: str) -> str:
        await asyncio.sleep(0.2)
        return f"{city}: rain"

    @durable_function_tool
    async def get_weather_of_all(cities: list[str]) -> list[str]:
        """Get the current weather for all the cities."""
        ctx = restate_context()
        steps = [ctx.run_typed(f"get weather {city}", fetch, city=city) for city in cities]
        await restate.gather(*steps)
        return [await step for step in steps]

    handler = serve_agent(serve, agent, "SdkTestAll", tools=[get_weather_of_all])
    run = await tour.call(handler, "What is the weather like in Oslo and Lima?")
    _, oslo, lima, _ = run.journal.entries
    assert oslo.ended
    assert lima.ended
    assert max(oslo.started, lima.started) < min(oslo.ended, lima.ended)
    assert "Oslo: rain" in run.result


@pytest.mark.parametrize(("retries", "requests"), [(None, 9), (1, 6), (0, 3)])
async def test_retries_multiply(agent: ModuleType, retries: int | None, requests: int) -> None:
    client = AsyncOpenAI() if retries is None else AsyncOpenAI(max_retries=retries)
    use(client)
    tour.offline.fail(times=9, status=500, retry_after=0.01)
    run = await tour.send(agent.run, {})
    assert (await failure_of(run)).status == 500
    assert run.journal.attempts("call LLM") == [3]
    assert tour.offline.calls == run.llm_calls == requests


async def test_without_run_options_a_wrong_key_is_tried_on_and_on(
    agent: ModuleType, serve: Serve
) -> None:
    service = restate.Service("SdkTestUnbounded")

    @service.handler("run")
    async def run(ctx: restate.Context, prompt: str) -> str:
        return str((await DurableRunner.run(agent.weather_agent, prompt)).final_output)

    serve(service)
    tour.offline.fail(times=3, status=401)
    done = await tour.call(run, "Weather in Oslo?")
    assert done.journal.attempts("call LLM") == [4, 1]


@pytest.mark.parametrize("status", [400, 401, 404, 429, 503])
async def test_every_error_of_the_model_is_tried_three_times(
    agent: ModuleType, status: int
) -> None:
    tour.offline.fail(times=3, status=status)
    run = await tour.send(agent.run, {})
    assert (await failure_of(run)).status == 500
    assert run.journal.attempts("call LLM") == [3]


async def test_a_rate_limit_is_not_waited_for(agent: ModuleType, by_hand: Handler) -> None:
    """It says when to come back: the loop listens, the extension does not."""
    for handler, step, waits in (
        (by_hand, "LLM call", True),
        (agent.run, "call LLM", False),
    ):
        tour.offline.fail(times=1, status=429, retry_after=1)
        run = await tour.call(handler, {})
        refused, again = run.journal.entries[0].tries
        assert run.journal.steps[0] == step
        assert refused.ended
        assert (again.started - refused.ended >= timedelta(seconds=0.9)) is waits


# ---- a model that does not play along


def scripted(*replies: Any) -> list[list[Any]]:
    """Let the model answer with these tool calls, one after the other; return what it is sent."""
    client = AsyncOpenAI(max_retries=0)
    queue, sent = list(replies), list[list[Any]]()

    async def create(**request: Any) -> ChatCompletion:
        sent.append(request["messages"])
        reply = queue.pop(0) if len(queue) > 1 else queue[0]
        call = {"id": f"call_{len(sent)}", "type": "function"}
        message = (
            {"content": reply}
            if isinstance(reply, str)
            else {"tool_calls": [call | {"function": {"name": reply[0], "arguments": reply[1]}}]}
        )
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **message}}
        return ChatCompletion.model_validate(
            {
                "id": "1",
                "object": "chat.completion",
                "created": 0,
                "model": "m",
                "choices": [choice],
            }
        )

    client.chat.completions.create = create  # type: ignore[method-assign, assignment]
    use(client)
    return sent


async def test_the_loop_ends_after_five_turns(agent: ModuleType) -> None:
    scripted(("get_weather", '{"city": "Oslo"}'))
    run = await tour.send(agent.run, {})
    failed = await failure_of(run)
    assert (failed.status, "Max turns (5) exceeded" in str(failed)) == (500, True)
    assert run.journal.steps == ["call LLM", "get weather"] * 5
    assert run.journal.attempts("call LLM") == [1] * 5


async def test_a_tool_that_the_model_invents_ends_it(agent: ModuleType, serve: Serve) -> None:
    """In `run_agent`, that is: the runner by itself would be called again for ever."""
    scripted(("get_wether", "{}"))
    run = await tour.send(agent.run, {})
    assert "get_wether not found" in str(await failure_of(run))
    assert run.journal.attempts("call LLM") == [1]
    service = restate.Service("SdkTestInvented", invocation_retry_policy=HOLD)

    @service.handler("run")
    async def bare(ctx: restate.Context, prompt: str) -> str:
        return str((await DurableRunner.run(agent.weather_agent, prompt)).final_output)

    serve(service)
    endless = await tour.send(bare, "Weather in Oslo?")
    await endless.until("paused")
    assert "ModelBehaviorError" in endless.journal.errors[-1][1]
    await endless.kill()


@pytest.mark.parametrize("arguments", ["{", "[]", '{"town": "Oslo"}', "null", '{"city": null}'])
async def test_arguments_that_make_no_sense_are_told_to_the_model(
    agent: ModuleType, arguments: str
) -> None:
    sent = scripted(("get_weather", arguments), "I give up.")
    run = await tour.call(agent.run, {})
    assert run.result == "I give up."
    assert run.journal.steps == ["call LLM", "call LLM"]
    assert "error occurred" in sent[-1][-1]["content"]


async def test_a_model_as_an_object_is_paid_again_and_again(
    agent: ModuleType, serve: Serve
) -> None:
    model = agents.OpenAIChatCompletionsModel(agent.MODEL, used[0])
    handler = serve_agent(serve, agent, "SdkTestObject", model=model)
    run = await tour.send(handler, "Weather in Oslo?")
    await run.until("paused")
    assert run.journal.steps == []
    assert run.llm_calls == 3
    await run.kill()


# ---- a tool that fails


async def test_a_step_that_stumbles_does_no_harm_to_a_session(
    agent: ModuleType, serve: Serve
) -> None:
    """What notebook 9 shows is a tool that stumbles outside of a step."""
    stumbles = iter([ConnectionError("a hiccup")] * 2)

    async def fetch(city: str) -> str:
        for stumble in stumbles:
            raise stumble
        return f"{city}: rain"

    @durable_function_tool
    async def get_weather(city: str) -> str:
        """Get the current weather for a given city."""
        return await restate_context().run_typed("get weather", fetch, city=city)

    chat = restate.VirtualObject("SdkTestChat", invocation_retry_policy=HOLD)

    @chat.handler("message")
    async def message(ctx: restate.ObjectContext, text: str) -> list[Any]:
        helped = agent.weather_agent.clone(tools=[get_weather])
        await agent.run_agent(helped, text, use_restate_session=True)
        return await ctx.get("items", type_hint=list[Any]) or []

    serve(chat)
    run = await tour.call(message, "Weather in Oslo?", key=uuid4().hex)
    assert run.journal.attempts("get weather") == [3]
    assert [each.get("role", each.get("type")) for each in run.result] == [
        "user",
        "function_call",
        "function_call_output",
        "assistant",
    ]


async def test_an_error_that_passes_is_tried_again_outside_of_a_step_as_well(
    agent: ModuleType, serve: Serve
) -> None:
    stumbles = iter([ConnectionError("a hiccup")] * 2)

    async def get_weather(city: str) -> str:
        """Get the current weather for a given city."""
        for stumble in stumbles:
            raise stumble
        return "rain"

    handler = serve_agent(serve, agent, "SdkTestHiccup", tools=[durable_function_tool(get_weather)])
    run = await tour.call(handler, "Weather in Oslo?")
    assert run.result == "Oslo: rain."
    assert "a hiccup" in run.journal.errors[0][1]
    assert run.llm_calls == 2


# ---- what stays where it is


async def test_nothing_leaves_the_machine(agent: ModuleType) -> None:
    """A key is set, and traces are flushed: still nobody but this machine is asked for."""
    hosts: set[Any] = set()

    def note(event: str, details: tuple[Any, ...]) -> None:
        if event == "socket.getaddrinfo":
            hosts.add(details[0])
        elif event == "socket.connect" and isinstance(details[1], tuple):
            hosts.add(details[1][0])

    sys.addaudithook(note)  # for the rest of the process: there is no removing one
    use(AsyncOpenAI(max_retries=0))  # one that has no connection yet
    assert (await tour.call(agent.run, {})).result == "San Francisco: 23 °C, sunny."
    await asyncio.to_thread(agents.flush_traces)
    assert {str(host) for host in hosts} <= {"127.0.0.1", "b'127.0.0.1'"}
    assert hosts


def test_no_other_notebook_imports_an_agent_sdk() -> None:
    """Its import takes longer than all the rest together."""
    numbers = [path.name[:2] for path in NOTEBOOKS if path != NOTEBOOK]
    code = (
        "import sys, tour, tour.export; "
        f"[tour.export.load(number) for number in {numbers}]; "
        "print(sorted({'agents', 'mcp', 'restate.ext.openai'} & set(sys.modules)))"
    )
    assert output(code, OPENAI_API_KEY="none") == "[]\n"


def test_without_the_sdk_an_export_is_refused_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "agents", None)
    with pytest.raises(tour.TourError, match=r"^Notebook 09 needs agents, which is not installed"):
        export(NOTEBOOK.name[:2], tmp_path / "agent")
    assert not list(tmp_path.iterdir())


# ---- the exercises


STUB_1, STUB_2 = stub(SOLVED_1), stub(SOLVED_2)
DURABLE_RUN = "DurableRunner.run(agent, request.prompt, run_options=THREE_TRIES)"


@pytest.mark.parametrize(
    ("source", "verdict"),
    [
        (SOLVED_1, "Solved."),
        (STUB_1, "no steps and no `call LLM`"),
        (
            STUB_1.replace("agents.Runner.run(agent, request.prompt)", DURABLE_RUN),
            "the look-up is none",
        ),
        (
            SOLVED_1.replace(DURABLE_RUN, "agents.Runner.run(agent, request.prompt)"),
            "['get weather'] and no `call LLM`",
        ),
        (STUB_1.replace("@agents.function_tool", "@durable_function_tool"), "no steps"),
        (SOLVED_1.replace('"get weather"', '"look up"'), "they are ['call LLM', 'look up'"),
        (SOLVED_1.replace("str(result.final_output)", '""'), "returned nothing"),
    ],
    ids=["solution", "stub", "no tool step", "no model step", "decorator alone", "name", "nothing"],
)
async def test_exercise_1(agent: ModuleType, serve: Serve, source: str, verdict: str) -> None:
    scope = namespace(agent, source)
    serve(scope["moved"])
    await tour.call(scope["moved_run"], {})
    assert verdict in repr(tour.check("09.1"))


ITEMS = "[*history, asked]"
FORGETFUL = SOLVED_2.replace('    ctx.set("items", result.to_input_list())\n', "")
HASTY = SOLVED_2.replace("    result = await", '    ctx.set("items", items)\n    result = await')


@pytest.mark.parametrize(
    ("source", "down", "verdict"),
    [
        (SOLVED_2, True, "Solved."),
        (SOLVED_2.replace('"items"', '"history"'), True, "Solved."),
        (STUB_2, True, "the state has 3 questions"),
        (FORGETFUL, True, "the state has 0 of their questions"),
        (HASTY, True, "the state has 3 questions"),
        (SOLVED_2, False, "No turn of this conversation has failed"),
    ],
    ids=["solution", "another name", "stub", "forgets", "sets too early", "never down"],
)
async def test_exercise_2(
    agent: ModuleType, serve: Serve, source: str, down: bool, verdict: str
) -> None:
    scope = namespace(agent, source)
    serve(scope["steady"])
    key = uuid4().hex
    await tour.call(scope["steady_message"], {}, key=key)
    if down:
        tour.offline.fail(times=3, status=500)
        await failure_of(await tour.send(scope["steady_message"], {"message": "Hi."}, key=key))
    await tour.call(scope["steady_message"], {"message": "What is my name?"}, key=key)
    assert verdict in repr(tour.check("09.2"))
