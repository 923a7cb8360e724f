"""The five teams of notebook 7: over HTTP, with other words, bad input, and parts that die."""

import asyncio
import json
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any
from uuid import UUID, uuid4

import pytest

import tour
from tests.helpers.agents import (
    agents_of,
    failure_of,
    kill_all,
    namespace,
    refuses,
    says,
    serve_again,
    services_of,
    text,
    tool_call,
    unfinished,
)
from tests.helpers.exercise_source import solution, stub
from tests.helpers.outside import post
from tour import server
from tour.endpoint import AnyService
from tour.exercises import Verdict

pytestmark = pytest.mark.anyio

LINKS = ["Parse claim", "Evaluate claim", "Convert currency", "Process payment"]
WORKER, CHOOSE = "ResearchWorker/research", "Choose an agent"
LIST = "AgentDirectory/support/list"

teams = agents_of("07")


@pytest.fixture(autouse=True)
def nothing_left(teams: ModuleType) -> Iterator[None]:
    post("AgentDirectory/support/clear")
    yield
    kill_all(*services_of(teams))


def attempts(run: Any) -> list[int]:
    """Return how often each step of an agent was tried; its steps have different names."""
    return [tries for step in run.journal.steps for tries in run.journal.attempts(step)]


# ---- over HTTP, with the defaults that the playground shows


@pytest.mark.parametrize("path", ["{}", "restate/call/{}"])
def test_the_documented_calls(teams: ModuleType, path: str) -> None:
    prompt = {"prompt": "Reimburse my hospital bill of 3000 EUR for a broken leg."}
    key = uuid4().hex
    answers = {
        "ClaimReimbursement/process": (prompt, "3300.00 USD paid"),
        "ResearchWorker/research": ({"topic": "bees"}, "Three sources agree on bees."),
        "ResearchReport/generate": (
            {"topic": "bees and ants"},
            "- Three sources agree on bees.\n- Three sources agree on ants.",
        ),
        "AgentRouter/answer": ({}, "we have charged you twice by mistake"),
        "ProductAgent/run": ({"message": "What colours?"}, "in green"),
        f"SupportDesk/{key}/message": (
            {},
            {"agent": "BillingAgent", "answer": "we have charged you twice by mistake"},
        ),
        "AgentDirectory/support/list": (None, teams.SKILLS),
    }
    for target, (body, answer) in answers.items():
        reply = post(path.format(target), body)
        assert (reply.status_code, reply.json()) == (200, answer), target
    draft = post(path.format("CodeGenerator/generate"), {}).json()
    assert (draft["approved"], draft["attempts"]) == (True, 2)


def test_the_playground_knows_the_defaults(teams: ModuleType) -> None:
    inputs = {
        "ClaimReimbursement": teams.ClaimPrompt,
        "CodeGenerator": teams.CodeTask,
        "ResearchReport": teams.Topic,
        "ResearchWorker": teams.Topic,
        "AgentRouter": teams.Question,
        "AccountAgent": teams.Question,
        "AgentDirectory": teams.AgentCard,
        "SupportDesk": teams.Question,
    }
    for service, model in inputs.items():
        schema = json.dumps(server.request("GET", f"/services/{service}/openapi").json())
        for default in model().model_dump().values():
            assert json.dumps({"default": default})[1:-1] in schema


def test_what_the_forms_say_is_what_openai_takes(teams: ModuleType) -> None:
    """Its strict mode wants all fields required, and no others."""
    post("ClaimReimbursement/process", {})
    post("ResearchReport/generate", {})
    formats = [each["response_format"] for each in tour.offline.requests if len(each) == 3]
    shapes = [each["json_schema"] for each in formats]
    assert [shape["name"] for shape in shapes] == ["Claim", "Verdict", "TaskList"]
    for shape in shapes:
        assert shape["strict"] is True
        assert shape["schema"]["additionalProperties"] is False
        assert shape["schema"]["required"] == list(shape["schema"]["properties"])
        assert '"default"' not in json.dumps(shape)


# ---- bad input

HANDLERS = {
    "ClaimReimbursement/process": {"prompt": 7},
    "CodeGenerator/generate": {"standards": ["none"]},
    "ResearchReport/generate": {"topic": None},
    "ResearchWorker/research": {"topic": {}},
    "AgentRouter/answer": {"message": 1},
    "BillingAgent/run": {"message": []},
    "AgentDirectory/{key}/add": {"name": "not a name"},
    "SupportDesk/{key}/message": {"message": True},
}


@pytest.mark.parametrize(("path", "wrong"), HANDLERS.items(), ids=HANDLERS)
def test_bad_input_is_refused_at_once(teams: ModuleType, path: str, wrong: Any) -> None:
    refuses(path, wrong)
    assert unfinished(*services_of(teams)) == []
    assert tour.offline.calls == 0


# ---- the chain


@pytest.mark.parametrize(
    ("prompt", "steps", "result"),
    [
        ("Reimburse my dentist's invoice of 120.50 GBP", 4, "156.65 USD paid"),
        ("The pharmacy wants 12 USD for my cough, please reimburse", 4, "12.00 USD paid"),
        ("10000 EUR for surgery", 4, "11000.00 USD paid"),
        ("Please pay 45 EUR for the taxi", 2, "Nothing is paid: not approved"),
        ("My new desk was 900 USD", 2, "Nothing is paid: not approved"),
    ],
)
async def test_other_claims(teams: ModuleType, prompt: str, steps: int, result: str) -> None:
    run = await tour.call(teams.process, {"prompt": prompt})
    assert (run.result, run.journal.steps, attempts(run)) == (result, LINKS[:steps], [1] * steps)
    assert run.llm_calls == tour.offline.calls == 2


@pytest.mark.parametrize(
    ("prompt", "steps", "says"),
    [
        ("Reimburse my hospital bill of 10001 EUR", 1, "does not fit Claim"),
        ("Reimburse my hospital bill of -20 EUR", 1, "does not fit Claim"),
        ("Reimburse it", 1, "does not fit Claim"),
        ("Reimburse my hospital bill of 20 CHF", 3, "no rate for the currency 'CHF'"),
    ],
)
async def test_claims_that_end_before_the_payment(
    teams: ModuleType, prompt: str, steps: int, says: str
) -> None:
    run = await tour.send(teams.process, {"prompt": prompt})
    failure = await failure_of(run, says)
    assert failure.status == 422
    assert (run.journal.steps, attempts(run)) == (LINKS[:steps], [1] * steps)


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "I am sorry, I cannot do that.",
        '{"amount": 5}',
        '{"amount": NaN, "currency": "EUR", "reason": "x"}',
        '{"amount": 1e999, "currency": "EUR", "reason": "x"}',
        '{"amount": 5, "currency": "EUR", "reason": "hospital", "paid": true}',
        '{"amount": 5, "currency": "EUR", "reason": "hosp',
    ],
)
async def test_an_answer_that_does_not_fit_its_form_ends_the_work(
    teams: ModuleType, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    says(teams, monkeypatch, text(content))
    run = await tour.send(teams.process, {})
    await failure_of(run, "does not fit Claim")
    assert (run.journal.steps, attempts(run)) == (LINKS[:1], [1])


@pytest.mark.parametrize(
    ("link", "step"), [("convert_currency", LINKS[2]), ("process_payment", LINKS[3])]
)
async def test_a_crash_in_a_link_repeats_none_before_it(
    teams: ModuleType, monkeypatch: pytest.MonkeyPatch, link: str, step: str
) -> None:
    """And the id of the claim, which the provider knows it by, stays what it was."""
    working, given = getattr(teams, link), []

    async def stuck_once(**arguments: Any) -> Any:
        given.append(arguments)
        if len(given) == 1:
            await asyncio.sleep(60)
        return await working(**arguments)

    monkeypatch.setattr(teams, link, stuck_once)
    run = await tour.send(teams.process, {"prompt": "70 GBP for the clinic"})
    await run.until(step)
    serve_again(teams)  # which cuts all connections, and is back at once
    assert await run.result() == "91.00 USD paid"
    assert attempts(run) == [2 if each == step else 1 for each in LINKS]
    assert given[0] == given[1]
    assert run.llm_calls == 2
    assert UUID(given[0].get("claim_id", uuid4().hex))


# ---- the writer and the reviewer


def rounds(number: int) -> list[str]:
    steps = ("Generate", "Evaluate")
    return [f"{step} code (attempt {n})" for n in range(1, number + 1) for step in steps]


@pytest.mark.parametrize(
    ("task", "standards", "number", "approved"),
    [
        ("Write a function `area(width, height)`.", "good names", 1, True),
        ("I need a function `f(x)` that returns nothing.", "type hints", 2, True),
        ("A function `now()` with a docstring, please", "a docstring", 1, True),
        ("Write a function `area(width, height)`.", "tests and a docstring", 3, False),
    ],
)
async def test_other_tasks(
    teams: ModuleType, task: str, standards: str, number: int, approved: bool
) -> None:
    run = await tour.call(teams.generate, {"task": task, "standards": standards})
    name = re.findall(r"`(\w+)\(", task)[0]
    assert run.result.code.startswith(f"def {name}(")
    assert (run.result.approved, run.result.attempts) == (approved, number)
    assert (run.journal.steps, attempts(run)) == (rounds(number), [1] * 2 * number)
    assert run.llm_calls == tour.offline.calls == 2 * number


async def test_a_reviewer_who_changes_its_mind_is_not_asked_again(
    teams: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    no = text('{"approved": false, "feedback": "Use fewer words."}')
    says(teams, monkeypatch, text("x = 1"), no)
    tour.offline.latency = 0.3
    run = await tour.send(teams.generate, {})
    await run.until(rounds(2)[2])
    serve_again(teams)
    assert (await run.result()).attempts == 3
    assert attempts(run) == [1, 1, 2, 1, 1, 1]
    assert {"role": "user", "content": "Use fewer words."} in tour.offline.requests[0]["messages"]


async def test_a_verdict_that_does_not_fit_ends_the_loop(
    teams: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    says(teams, monkeypatch, text("x = 1"), text('{"approved": "perhaps"}'))
    run = await tour.send(teams.generate, {})
    await failure_of(run, "does not fit Verdict")
    assert run.journal.steps == rounds(1)


# ---- the planner and its workers


@pytest.mark.parametrize(
    ("topic", "tasks"),
    [
        ("The history of tea", ["The history of tea"]),
        ("bees, wasps and ants", ["bees", "wasps", "ants"]),
        ("a, b, c, d, e, f", ["a", "b", "c", "d", "e"]),
    ],
)
async def test_other_topics(teams: ModuleType, topic: str, tasks: list[str]) -> None:
    run = await tour.call(teams.generate_report, {"topic": topic})
    points = "\n".join(f"- Three sources agree on {task}." for task in tasks[:3])
    assert run.result in (points, points.removeprefix("- "))
    planner, *workers = run.journal.walk()
    assert planner.steps == ["Plan", *[WORKER] * len(tasks), "Write report"]
    assert [each.steps for each in workers] == [["Search", "Summarise"]] * len(tasks)
    assert run.llm_calls == tour.offline.calls == len(tasks) + 2


async def test_workers_work_at_the_same_time_and_the_planner_is_suspended(
    teams: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    here: list[str] = []
    away: list[str] = []

    async def meet(topic: str) -> str:
        here.append(topic)
        while not away:
            await asyncio.sleep(0.01)
        return f"{topic} is known."

    monkeypatch.setattr(teams, "search", meet)
    run = await tour.send(teams.generate_report, {"topic": "bees, wasps and ants"})
    await run.until("suspended")
    assert sorted(here) == ["ants", "bees", "wasps"]
    away.append("all")
    assert await run.result() == "- bees is known.\n- wasps is known.\n- ants is known."
    assert run.journal.attempts("Plan") == [1]


async def test_a_worker_that_fails_is_tried_again_alone(
    teams: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[str] = []

    async def moody(topic: str) -> str:
        searched.append(topic)
        if topic == "wasps" and searched.count(topic) < 3:
            raise ConnectionError("stung")
        return f"{topic} is known."

    monkeypatch.setattr(teams, "search", moody)
    run = await tour.call(teams.generate_report, {"topic": "bees, wasps and ants"})
    _, *workers = run.journal.walk()
    assert [each.attempts("Search") for each in workers] == [[1], [3], [1]]
    assert (sorted(searched), run.llm_calls) == (["ants", "bees", *["wasps"] * 3], 5)


async def test_the_fan_out_survives_a_crash_in_the_middle(
    teams: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []

    async def stuck_once(topic: str) -> str:
        started.append(topic)
        if topic == "wasps" and started.count(topic) == 1:
            await asyncio.sleep(60)
        return f"{topic} is known."

    monkeypatch.setattr(teams, "search", stuck_once)
    run = await tour.send(teams.generate_report, {"topic": "bees, wasps and ants"})
    await run.until("suspended")
    serve_again(teams)
    assert await run.result() == "- bees is known.\n- wasps is known.\n- ants is known."
    assert sorted(started) == ["ants", "bees", "wasps", "wasps"]
    assert run.llm_calls == 5


async def test_a_plan_without_tasks_makes_no_workers(
    teams: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    says(teams, monkeypatch, text('{"tasks": []}'))
    run = await tour.send(teams.generate_report, {})
    await failure_of(run, "does not fit TaskList")
    assert run.journal.steps == ["Plan"]


# ---- routing by name


@pytest.mark.parametrize(
    ("message", "agent", "answer"),
    [
        ("I want a refund", "BillingAgent", "we have charged you twice by mistake"),
        ("There is an invoice I want back", "BillingAgent", "the money is back on Friday"),
        ("I forgot my password", "AccountAgent", "a new password is on its way"),
        ("My login is locked", "AccountAgent", "you can log in again now"),
        ("Which sizes do you have?", "ProductAgent", "in one size"),
    ],
)
async def test_a_message_finds_its_agent(
    teams: ModuleType, message: str, agent: str, answer: str
) -> None:
    run = await tour.call(teams.answer, {"message": message})
    assert (run.result, run.journal.steps) == (answer, [LIST, CHOOSE, f"{agent}/run"])
    assert run.llm_calls == tour.offline.calls == 2
    offered = [tool["function"]["name"] for tool in tour.offline.requests[0]["tools"]]
    assert offered == list(teams.SKILLS)


@pytest.mark.parametrize("wrong", [("LegalAgent",), ("ClaimReimbursement",), ("", "Nobody")])
async def test_a_name_that_is_not_on_the_list_is_not_called(
    teams: ModuleType, monkeypatch: pytest.MonkeyPatch, wrong: tuple[str, ...]
) -> None:
    """Not even that of another service, which Restate does know."""
    says(teams, monkeypatch, tool_call(*wrong))
    run = await tour.call(teams.answer, {})
    assert run.journal.steps == [LIST, CHOOSE, CHOOSE, "BillingAgent/run"]
    told = tour.offline.requests[0]["messages"][-len(wrong) :]
    assert [message["tool_call_id"] for message in told] == ["1", "2"][: len(wrong)]
    assert all("BillingAgent, AccountAgent, ProductAgent" in each["content"] for each in told)


async def test_a_model_that_never_names_anybody_ends(
    teams: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    says(teams, monkeypatch, tool_call("LegalAgent"), ever=True)
    run = await tour.send(teams.answer, {})
    await failure_of(run, "five times")
    assert run.journal.steps == [LIST, *[CHOOSE] * 5]


async def test_a_specialist_is_added_while_the_router_runs(teams: ModuleType) -> None:
    deployed = "select deployment_id from sys_service where name = 'AgentRouter'"
    before = server.query(deployed)
    late = teams.specialist("LateSpecialist", "Respond with 'ring' or 'knock'.")
    endpoint = tour.serve(late)
    card = {"name": "LateSpecialist", "skills": "Doors and bells."}
    await tour.call(teams.add, card, key="support")
    run = await tour.call(teams.answer, {"message": "The bell is silent"})
    endpoint.stop()
    assert run.journal.steps == [LIST, CHOOSE, "LateSpecialist/run"]
    assert (run.result, server.query(deployed)) == ("ring", before)
    listed = (await tour.call(teams.list_agents, key="support")).result
    assert listed == teams.SKILLS | {"LateSpecialist": "Doors and bells."}


async def test_a_choice_stands_after_a_crash(
    teams: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    tour.offline.latency = 0.3
    run = await tour.send(teams.answer, {"message": "My login is locked"})
    await run.until("AccountAgent/run")
    says(teams, monkeypatch, text("you can log in again now"), *[tool_call("ProductAgent")] * 9)
    serve_again(teams)
    assert await run.result() == "you can log in again now"
    assert run.journal.steps == [LIST, CHOOSE, "AccountAgent/run"]
    assert run.journal.attempts(CHOOSE) == [1]


# ---- the desk


async def talk(teams: ModuleType, key: str, *messages: str) -> list[list[str]]:
    runs = [await tour.call(teams.message, {"message": each}, key=key) for each in messages]
    return [run.journal.steps for run in runs]


@pytest.mark.parametrize(
    ("messages", "steps"),
    [
        (
            ["I forgot my password", "Hm. And now?", "Which colours are there?"],
            [["Reception", "AccountAgent"], ["AccountAgent"], ["AccountAgent", "ProductAgent"]],
        ),
        (["Good morning", "Is there a refund?"], [["Reception"], ["Reception", "BillingAgent"]]),
        (
            ["What does a login with a refund look like in other colours?"],
            [["Reception", "BillingAgent", "AccountAgent", "BillingAgent"]],
        ),
    ],
)
async def test_who_answered_last_has_the_next_message(
    teams: ModuleType, messages: list[str], steps: list[list[str]]
) -> None:
    key = uuid4().hex
    assert await talk(teams, key, *messages) == [[f"Ask {n}" for n in turn] for turn in steps]
    kept = f"select key, value_utf8 from state where service_key = '{key}'"
    state = {row["key"]: json.loads(row["value_utf8"]) for row in server.query(kept)}
    assert state["last_agent_name"] == steps[-1][-1]
    assert [each["content"] for each in state["messages"][::2]] == messages
    await tour.call(teams.forget, key=key)
    assert server.query(kept) == []


async def test_keys_are_apart(teams: ModuleType) -> None:
    ada, bob = uuid4().hex, uuid4().hex
    await talk(teams, ada, "My invoice is wrong")
    assert await talk(teams, bob, "Hello") == [["Ask Reception"]]


async def test_a_handover_is_not_made_twice(teams: ModuleType) -> None:
    tour.offline.latency = 0.3
    run = await tour.send(teams.message, {"message": "My login is locked"}, key=uuid4().hex)
    await run.until("Ask AccountAgent")
    serve_again(teams)
    assert (await run.result())["agent"] == "AccountAgent"
    assert (run.journal.steps, attempts(run)) == (["Ask Reception", "Ask AccountAgent"], [1, 2])


@pytest.mark.parametrize(
    ("said", "asked"), [(["LegalAgent"], 2), (["BillingAgent", "BillingAgent"], 3)]
)
async def test_a_handover_to_nobody_or_to_oneself_stays_where_it_is(
    teams: ModuleType, monkeypatch: pytest.MonkeyPatch, said: list[str], asked: int
) -> None:
    says(teams, monkeypatch, *(tool_call(name) for name in said))
    run = await tour.call(teams.message, {"message": "Hm."}, key=uuid4().hex)
    assert len(run.journal.steps) == asked
    assert run.result["agent"] == ("Reception" if "LegalAgent" in said else "BillingAgent")


async def test_who_may_not_hand_over_any_more_and_does_is_stopped(
    teams: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    says(teams, monkeypatch, tool_call("LegalAgent"), ever=True)
    run = await tour.send(teams.message, {}, key=uuid4().hex)
    await failure_of(run, "went on handing over")
    assert run.journal.steps == ["Ask Reception"] * 4


async def test_a_turn_that_fails_leaves_no_trace(teams: ModuleType) -> None:
    key = uuid4().hex
    tour.offline.fail(status=401)
    run = await tour.send(teams.message, {}, key=key)
    failure = await failure_of(run)
    assert failure.status == 401
    assert server.query(f"select key from state where service_key = '{key}'") == []


# ---- the exercises


async def judged(teams: ModuleType, number: str, source: str, handler: str, arg: Any) -> Verdict:
    """Run a version of an exercise in the notebook's module, and return what is said of it."""
    there = namespace(teams, source)
    known = services_of(teams)
    new = [v for v in there.values() if isinstance(v, AnyService) and v not in known]
    endpoint = tour.serve(*new)
    try:
        await tour.call(there[handler], arg)
    finally:
        endpoint.stop()
    return tour.check(number)


SENTENCE = '"We could not read your claim. Which amount is it, and in which currency?"'
CLERK = ("07.1", "clerk_run", {"prompt": "Reimburse my hospital bill."})
LETTER = ("07.2", "letter_run", ["wind", "secrets", "tides"])


@pytest.mark.parametrize(
    ("edits", "says"),
    [
        ([], "Asked twice"),
        ([('"Parse claim again")', '"Parse claim again", "Parse claim thrice")')], "3 times"),
        ([('"Parse claim again")', '"Parse claim")')], "Name the steps"),
        ([('("Parse claim", "Parse claim again")', '("Parse claim",)')], "asked once"),
        ([(SENTENCE, '""')], "no sentence"),
    ],
)
async def test_exercise_1(teams: ModuleType, edits: list[tuple[str, str]], says: str) -> None:
    number, handler, arg = CLERK
    source = solution(number, *edits)
    verdict = await judged(teams, number, source, handler, arg)
    assert says in verdict.message
    assert bool(verdict) is (not edits)


@pytest.mark.parametrize(
    ("edits", "says"),
    [
        ([], "One has refused"),
        ([('lines.append(f"Nothing on {topic}: {error.message}.")', "continue")], "something is"),
        ([('f"Nothing on {topic}: {error.message}."', '""')], "line of the letter is empty"),
        ([("lines.append(f", "lines.insert(0, f")], "in the order of the topics"),
        ([("lines.append(await call)", "lines.append(topic); await call")], "2 of the three"),
        ([("in topics]", "in topics[:1]]")], "there are 1"),
    ],
)
async def test_exercise_2(teams: ModuleType, edits: list[tuple[str, str]], says: str) -> None:
    number, handler, arg = LETTER
    source = solution(number, *edits).replace(", strict=True", "")
    verdict = await judged(teams, number, source, handler, arg)
    assert says in verdict.message
    assert bool(verdict) is (not edits)


async def test_exercise_2_one_after_the_other(teams: ModuleType) -> None:
    number, handler, arg = LETTER
    lines = "calls = [ctx.service_call(source_run, topic) for topic in topics]"
    source = solution(
        number,
        (lines, "calls = topics"),
        ("    await restate.gather(*calls)\n", ""),
        ("await call)", "await ctx.service_call(source_run, topic))"),
    )
    verdict = await judged(teams, number, source, handler, arg)
    assert "at the same time" in verdict.message


@pytest.mark.parametrize("exercise", [CLERK, LETTER], ids=["07.1", "07.2"])
async def test_the_stubs(teams: ModuleType, exercise: tuple[str, str, Any]) -> None:
    number, handler, arg = exercise
    assert not await judged(teams, number, stub(solution(number)), handler, arg)
