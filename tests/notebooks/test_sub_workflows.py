"""The agents of notebook 4 and their tools: over HTTP, in parts that die, with other words."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID, uuid4

import pytest
import restate

import tour
from tests.helpers.agents import (
    agents_of,
    failure_of,
    kill_all,
    namespace,
    refuses,
    says,
    services_of,
    tool_call,
    unfinished,
)
from tests.helpers.documented import CLAIM, CLAIM_RULES
from tests.helpers.exercise_source import code_cells, numbered, read, solution, stub
from tests.helpers.exported import alone, register
from tests.helpers.outside import get, output_of, post
from tests.helpers.serving import Serve
from tour import server
from tour.asgi import free_port
from tour.export import export
from tour.invocation import Invocation

pytestmark = pytest.mark.anyio

NOTEBOOK = numbered("04")
ENGINE = (
    "You are a claim approval engine. Analyze the claim and use your tools to decide whether to "
    "approve."
)
QUERY, TICKET = "Query DB", "CRMService/create_support_ticket"
LLM, REVIEW = "LLM call", "HumanApprovalWorkflow/request_approval"

agents = agents_of("04", "crm")  # the last is another's, and so deployed apart


@pytest.fixture(autouse=True)
def nothing_left(agents: ModuleType) -> Iterator[None]:
    yield
    kill_all(*services_of(agents))


# ---- over HTTP, with the documented payloads


def test_each_service_is_there_and_the_ticket_system_is_deployed_apart(agents: ModuleType) -> None:
    where = {
        each["name"]: each["deployment_id"]
        for each in server.request("GET", "/services").json()["services"]
    }
    assert {each.name for each in services_of(agents)} <= set(where)
    assert where["CRMService"] != where["ToolRouter"] == where["MultiAgentClaimApproval"]


@pytest.mark.parametrize("path", ["{}", "restate/call/{}"])
def test_the_documented_calls_by_both_paths(agents: ModuleType, path: str) -> None:
    ticket = post(path.format(TICKET), {"description": "My laptop is on fire."})
    assert UUID(ticket.json())
    routed = {"message": "Why was I charged twice?", "userId": "user_12345"}
    assert "charged twice" in post(path.format("ToolRouter/route"), routed).json()
    verdict = post(path.format("MultiAgentClaimApproval/run"), CLAIM)
    assert verdict.json() == "Approved. analyze eligibility: eligible. analyze fraud: low risk."
    assert post(path.format("EligibilityAgent/run"), CLAIM).json() == "eligible"
    assert post(path.format("FraudAgent/run"), CLAIM).json() == "low risk"


@pytest.mark.parametrize("handler", ["request_approval", "requestApproval"])
@pytest.mark.parametrize(
    ("said", "result"), [("true", True), ("false", False), ('"rejected"', False)]
)
async def test_a_review_under_both_its_names(
    agents: ModuleType, handler: str, said: str, result: bool
) -> None:
    sent = post(f"HumanApprovalWorkflow/{handler}/send", CLAIM).json()["invocationId"]
    review = Invocation(sent, f"HumanApprovalWorkflow/{handler}", agents_handler(agents))
    await review.until("awakeable")
    [awakeable] = [step.id for step in review.journal.entries if step.kind == "awakeable"]
    json_type = {"content-type": "application/json"}
    path = f"restate/awakeables/{awakeable}/resolve"
    assert post(path, content=said.encode(), headers=json_type).status_code == 202
    assert await review.result() is result
    assert review.journal.attempts("request-review") == [1]


def agents_handler(agents: ModuleType) -> Any:
    return agents.approvals.handlers["requestApproval"]


def test_the_playground_knows_the_defaults(agents: ModuleType) -> None:
    routed: dict[str, Any] = {"message": "Why was I charged twice?", "userId": "user_12345"}
    services = ("MultiAgentClaimApproval", CLAIM), ("ToolRouter", routed)
    for service, defaults in services:
        schema = json.dumps(server.request("GET", f"/services/{service}/openapi").json())
        for name, value in defaults.items():
            assert f'"{name}": ' in schema
            assert json.dumps({"default": value})[1:-1] in schema


async def test_what_the_models_of_three_agents_are_asked(agents: ModuleType) -> None:
    post("MultiAgentClaimApproval/run", CLAIM)
    engine, first, _, second, last = tour.offline.requests
    assert engine["messages"][0] == {"role": "system", "content": ENGINE}
    word, _, body = engine["messages"][1]["content"].partition(": ")
    assert (word, json.loads(body)) == ("Claim", CLAIM)
    assert [tool["function"]["description"] for tool in engine["tools"]] == [
        "Analyze eligibility result.",
        "Analyze probability of fraud.",
    ]
    assert all(each["parallel_tool_calls"] is False for each in (engine, last))
    for specialist in (first, second):
        assert json.loads(specialist["messages"][1]["content"]) == CLAIM
        assert "tools" not in specialist
    assert [message["role"] for message in last["messages"][2:]] == ["assistant", "tool"] * 2


async def test_what_the_claim_agent_and_the_router_ask(agents: ModuleType) -> None:
    await tour.call(agents.run_claim_agent, {"prompt": "A bill of 20 USD."})
    await tour.call(agents.route, {"message": "What plan am I on?", "userId": "user_67890"})
    claim, routed, _ = tour.offline.requests
    assert claim["messages"][0]["content"] == CLAIM_RULES
    [tool] = [tool["function"] for tool in claim["tools"]]
    assert (tool["name"], set(tool["parameters"]["required"])) == ("human_approval", set(CLAIM))
    assert tool["description"] == "Ask for human approval for high-value claims."
    assert routed["messages"][0]["content"].startswith("You are a support agent")
    assert routed["messages"][1] == {"role": "user", "content": "What plan am I on?"}
    names = [tool["function"]["name"] for tool in routed["tools"]]
    assert names == ["query_user_database", "create_support_ticket"]


# ---- bad input

HANDLERS = {
    "SubWorkflowClaimAgent/run": {"prompt": 7},
    "HumanApprovalWorkflow/request_approval": {"amount": "much"},
    "ToolRouter/route": {"userId": 12345},
    "CRMService/create_support_ticket": {"description": None},
    "TicketDesk/report": {"message": ["My laptop"]},
    "TicketDesk/remind": {"seconds": -1},
    "AsyncNotificationsAgent/{key}/run": {"prompt": {}},
    "AsyncNotificationsAgent/{key}/on_notify": {"email": 3},
    "EligibilityAgent/run": {"date": 20241001},
    "FraudAgent/run": {"category": []},
    "MultiAgentClaimApproval/run": {"placeOfService": 1},
}


@pytest.mark.parametrize(("path", "wrong"), HANDLERS.items(), ids=HANDLERS)
def test_bad_input_is_refused_at_once(agents: ModuleType, path: str, wrong: Any) -> None:
    refuses(path, wrong)
    assert unfinished(*services_of(agents)) == []


# ---- other words than the notebook's


MAIL = "select entry_json from sys_journal where id = '{}' and entry_type = 'Notification: Run'"


@pytest.mark.parametrize(
    ("prompt", "amount"),
    [
        ("Please reimburse 1001 EUR for my knee surgery.", 1001),
        ("I paid $12,500.75 at the clinic in Graz.", 12500.75),
        ("Process my invoice of 2k USD for new glasses.", 2000),
        ("Process my hospital bill of 1000 USD.", None),
        ("999.99 USD for the dentist, thank you", None),
        ("My pharmacy wants 12 EUR.", None),
    ],
)
async def test_who_decides_depends_on_the_amount(
    agents: ModuleType, prompt: str, amount: float | None
) -> None:
    run = await tour.send(agents.run_claim_agent, {"prompt": prompt})
    if amount is None:
        assert str(await run.result()).startswith("Approved: ")
        assert run.journal.steps == [LLM]
        return
    await tour.approve(run, amount != 2000)
    word = "Approved" if amount != 2000 else "Rejected"
    assert str(await run.result()).startswith(f"{word}. human approval: ")
    parent, child = run.journal.walk()
    assert (parent.steps, parent.attempts(LLM)) == ([LLM, REVIEW, LLM], [1, 1])
    assert child.steps == ["awakeable", "request-review"]
    [mail] = server.query(MAIL.format(child.id))
    assert str(amount) in bytes_in(mail["entry_json"])
    [row] = server.query(f"select invoked_by_id from sys_invocation where id = '{child.id}'")
    assert row["invoked_by_id"] == run.id


def bytes_in(entry: str) -> str:
    """Return the texts in an entry, whose values are lists of bytes."""

    def texts(value: Any) -> Iterator[str]:
        if isinstance(value, list) and value and all(isinstance(each, int) for each in value):
            yield bytes(value).decode(errors="replace")
        elif isinstance(value, dict | list):
            for each in value.values() if isinstance(value, dict) else value:
                yield from texts(each)
        elif isinstance(value, str):
            yield value

    return " ".join(texts(json.loads(entry)))


@pytest.mark.parametrize(
    ("message", "user", "step", "answer"),
    [
        ("How much did you charge me last month?", "user_67890", QUERY, "9 USD"),
        ("I would like to see my billing details", "user_12345", QUERY, "49 USD"),
        ("Is my account still a premium one?", "user_404", QUERY, "nobody with the id user_404"),
        ("The printer eats my paper", "user_67890", TICKET, "-"),
        ("Your app crashes when I upload a photo.", "user_12345", TICKET, "-"),
        ("My keyboard only types the letter Q", "somebody else", TICKET, "-"),
    ],
)
async def test_a_message_finds_its_tool(
    agents: ModuleType, message: str, user: str, step: str, answer: str
) -> None:
    run = await tour.call(agents.route, {"message": message, "userId": user})
    assert answer in run.result
    assert (run.journal.steps, run.journal.attempts(LLM)) == ([LLM, step, LLM], [1, 1])
    if step == TICKET:
        _, child = run.journal.walk()
        assert child.steps == ["store ticket"]
        assert output_of(child.id) in run.result


@pytest.mark.parametrize("message", ["It rains into my flat", "Hallo?", "The door is stuck"])
async def test_an_early_answer_comes_before_the_work(
    agents: ModuleType, monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    stored, answered = [], threading.Event()

    async def slow(ticket_id: str, description: str) -> None:
        await asyncio.to_thread(answered.wait, 10)
        stored.append(description)

    monkeypatch.setattr(agents, "store_ticket", slow)
    run = await tour.call(agents.report, {"message": message, "userId": "u-1"})
    assert stored == []
    answered.set()
    assert run.journal.steps == [LLM, TICKET, LLM]
    reference = run.journal.entries[1].id
    assert f"its reference is {reference}" in run.result
    by_id = [f"restate/attach/{reference}", f"restate/invocation/{reference}/attach"]
    tickets = [get(path) for path in by_id]
    assert tickets == [output_of(reference)] * 2
    assert stored == [message]


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("Summarise this: Rain is wet. It falls.", "Rain is wet."),
        ("What is the sentiment of this: I love the new agent!", "positive"),
        ("My name is Ada.", "Noted: your name is Ada."),
    ],
)
async def test_an_answer_that_many_wait_for(agents: ModuleType, prompt: str, answer: str) -> None:
    key = uuid4().hex
    tour.offline.latency = 0.2
    early = [
        await tour.send(agents.on_notify, {"email": f"{name}@example.org"}, key)
        for name in ("eve", "dan")
    ]
    run = await tour.call(agents.answer_once, {"prompt": prompt}, key)
    late = await tour.call(agents.on_notify, {}, key)
    assert (run.result, run.llm_calls, tour.offline.calls) == (answer, 1, 1)
    mails = [await each.result() for each in early]
    assert mails == [f"To eve@example.org: {answer}", f"To dan@example.org: {answer}"]
    assert late.result == f"To ada@example.com: {answer}"
    assert run.journal.steps == [LLM, "agent_response"]
    assert late.journal.steps == ["agent_response", "send email"]
    assert late.journal.attempts("send email") == [1]


@pytest.mark.parametrize(
    ("changes", "verdict", "word"),
    [
        ({"category": "dental", "reason": "root canal", "amount": 120}, "eligible", "Approved"),
        ({"reason": "surgery on the knee", "placeOfService": "Clinic"}, "eligible", "Approved"),
        (
            {"category": "car", "reason": "a dent", "placeOfService": "Garage", "amount": 5},
            "not eligible",
            "Rejected",
        ),
        (
            {"category": "travel", "reason": "lost luggage", "placeOfService": "Airport"},
            "not eligible",
            "Rejected",
        ),
    ],
)
async def test_three_agents_judge_a_claim(
    agents: ModuleType, changes: dict[str, Any], verdict: str, word: str
) -> None:
    run = await tour.call(agents.run_approval_engine, CLAIM | changes)
    says = f"{word}. analyze eligibility: {verdict}. analyze fraud: low risk."
    assert run.result == says
    parent, *children = run.journal.walk()
    assert parent.steps == [LLM, "EligibilityAgent/run", LLM, "FraudAgent/run", LLM]
    assert [child.steps for child in children] == [[LLM], [LLM]]
    assert [output_of(child.id) for child in children] == [verdict, "low risk"]
    assert run.llm_calls == tour.offline.calls == 5
    asked = [json.loads(tour.offline.requests[n]["messages"][1]["content"]) for n in (1, 3)]
    assert asked == [CLAIM | changes] * 2


# ---- models that say odd things


@pytest.mark.parametrize("arguments", ["{", "null", "{}", '{"colour": "red"}'])
@pytest.mark.parametrize(
    ("agent", "name"),
    [
        ("run_claim_agent", "human_approval"),
        ("route", "create_support_ticket"),
        ("report", "create_support_ticket"),
        ("run_approval_engine", "analyze_fraud"),
    ],
)
async def test_arguments_that_make_no_sense_are_terminal(
    agents: ModuleType, monkeypatch: pytest.MonkeyPatch, agent: str, name: str, arguments: str
) -> None:
    says(agents, monkeypatch, tool_call(name, arguments=arguments))
    run = await tour.send(getattr(agents, agent), {})
    await failure_of(run, r"make no sense|are incomplete")
    assert (run.journal.steps, run.journal.attempts(LLM)) == ([LLM], [1])


@pytest.mark.parametrize(
    ("agent", "then"),
    [
        ("run_claim_agent", []),
        ("route", [QUERY]),
        ("report", []),
        ("run_approval_engine", ["EligibilityAgent/run", "FraudAgent/run"]),
    ],
)
async def test_a_tool_that_the_model_invents(
    agents: ModuleType, monkeypatch: pytest.MonkeyPatch, agent: str, then: list[str]
) -> None:
    says(agents, monkeypatch, tool_call("send_flowers"))
    prompt = {"prompt": "A bill of 20 USD."} if agent == "run_claim_agent" else {}
    run = await tour.call(getattr(agents, agent), prompt)
    assert [step for step in run.journal.steps if step not in (LLM, TICKET)] == then
    told = {
        "role": "tool",
        "tool_call_id": "1",
        "content": "Tool not found: send_flowers",
    }
    assert told in tour.offline.requests[0]["messages"]


async def test_the_loop_ends(agents: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    says(agents, monkeypatch, tool_call("query_user_database"), ever=True)
    run = await tour.send(agents.route, {})
    await failure_of(run, "no answer after ten rounds")
    assert run.journal.steps == [LLM, QUERY] * 10


async def test_a_models_refusal_goes_through_all_agents_to_the_caller(agents: ModuleType) -> None:
    tour.offline.fail(status=401)
    run = await tour.send(agents.run_approval_engine, {})
    failure = await failure_of(run)
    assert (failure.status, run.llm_calls) == (401, 1)


# ---- parts that die


async def test_a_tool_that_is_down_is_no_error_of_the_agent(
    agents: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped before the call, cut in mid-step, and each time started again."""
    stored = []

    async def dies_once(ticket_id: str, description: str) -> None:
        stored.append(ticket_id)
        if len(stored) == 1:
            crm.crash()
            await asyncio.sleep(60)

    monkeypatch.setattr(agents, "store_ticket", dies_once)
    crm = tour.serve(agents.crm)
    crm.stop()
    run = await tour.send(agents.route, {"message": "The printer is on fire"})
    await run.until("suspended")
    child = tour.latest(agents.create_support_ticket)
    await child.until("backing-off")
    assert (run.journal.errors, child.journal.steps) == ((), [])
    crm = tour.serve(agents.crm)
    await child.until("store ticket")
    crm = tour.serve(agents.crm)
    assert stored[0] in await run.result()
    assert stored == [stored[0]] * 2, "another id on the second try"
    assert run.journal.attempts(LLM) == [1, 1]
    assert child.journal.attempts("store ticket") == [2]


async def test_what_nobody_has_ever_served_is_called_again_and_again(serve: Serve) -> None:
    """It is no error either: who registers the service later, gets the call."""
    service, unknown = restate.Service("CallsAnUnknown"), restate.Service(f"Un{uuid4().hex}known")

    @unknown.handler()
    async def answer(ctx: restate.Context) -> str:
        return "at last"

    @service.handler()
    async def call(ctx: restate.Context) -> str:
        return await ctx.service_call(answer, None)

    serve(service)
    run = await tour.send(call)
    await run.until("backing-off")
    assert "was not found" in str(run.journal.errors[0])
    serve(unknown)
    await run.resume()
    assert await run.result() == "at last"


async def test_a_query_is_not_repeated_by_a_crash_after_it(
    agents: ModuleType, monkeypatch: pytest.MonkeyPatch, serve: Serve
) -> None:
    """And the route that was taken stands, though the model would choose another by now."""
    honest, asked = agents.ask_model, []

    async def crashes_the_second_time(messages: Any, **options: Any) -> dict[str, Any]:
        asked.append(messages[-1]["role"])
        if len(asked) == 2:
            raise ConnectionError("gone")
        if messages[-1]["role"] == "user" and len(asked) > 2:
            return tool_call("create_support_ticket", arguments='{"description": "odd"}')
        return dict(await honest(messages, **options))

    monkeypatch.setattr(agents, "ask_model", crashes_the_second_time)
    run = await tour.call(agents.route, {"message": "Which bill is open?", "userId": "user_12345"})
    assert run.journal.steps == [LLM, QUERY, LLM]
    assert (run.journal.attempts(QUERY), run.journal.attempts(LLM)) == ([1], [1, 2])
    assert asked == ["user", "tool", "tool"]


def notebooks_program() -> str:
    [cell] = [c.source for c in code_cells(read(NOTEBOOK)) if c.source.startswith("program = ")]
    names: dict[str, Any] = {}
    exec(cell, names)
    return str(names["program"])


def test_the_other_process_ends_with_the_kernel_that_started_it(agents: ModuleType) -> None:
    """Its standard input closes when the kernel dies, however it dies."""
    tour.serve(agents.crm).stop()
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", notebooks_program(), "0"]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout
        assert process.stdin
        assert "ready\n" in process.stdout
        answer = post("ToolRouter/route", {"message": "My chair squeaks"}).json()
        assert process.stdout.readline().strip() in answer
        ticket = tour.latest(agents.create_support_ticket)
        assert ticket.journal.attempts("store ticket") == [1], "counted there, too"
        process.stdin.close()
        assert process.wait(5) == 0
    tour.serve(agents.crm)


# ---- later


async def test_a_reminder_is_kept_until_its_time(agents: ModuleType) -> None:
    run = await tour.call(agents.remind, {"description": "Call back", "seconds": 1})
    ticket = Invocation(run.result, TICKET, agents.crm.handlers["create_support_ticket"])
    assert await ticket.status() == "scheduled"
    assert ticket.journal.steps == []
    assert UUID(await ticket.result())
    waited = ticket.journal.entries[0].started - run.journal.entries[0].started
    assert waited > timedelta(seconds=0.9)


async def test_a_delay_over_http_and_its_end_before_its_time(agents: ModuleType) -> None:
    sent = post("restate/send/CRMService/create_support_ticket?delay=1h", {"description": "x"})
    assert (sent.status_code, sent.json()["status"]) == (202, "Accepted")
    ticket = tour.latest(agents.create_support_ticket)
    assert (await ticket.status(), ticket.id) == ("scheduled", sent.json()["invocationId"])
    await ticket.cancel()
    failure = await failure_of(ticket)
    assert failure.status in (404, 409), "forgotten, or cancelled"


async def test_an_agent_attaches_to_what_another_has_sent(serve: Serve, agents: ModuleType) -> None:
    collector = restate.Service("CollectorAgent")

    @collector.handler()
    async def collect(ctx: restate.Context, reference: str) -> str:
        return await ctx.attach_invocation(reference, type_hint=str)

    serve(collector)
    sent = await tour.send(agents.create_support_ticket, {"description": "A squeak"})
    run = await tour.call(collect, sent.id)
    assert run.result == await sent.result()
    assert [step.kind for step in run.journal.entries] == ["attach"]
    for wrong, said in ((sent.id[:-3] + "zzz", "not found"), ("ticket 7", "invalid invocation id")):
        lost = await tour.send(collect, wrong)
        if wrong.startswith("inv"):
            with pytest.raises(tour.InvocationFailed, match=said):
                await lost.result()
        else:  # what is no id at all is tried for ever
            await lost.until("backing-off")
            assert said in str(lost.journal.errors)
            await lost.kill()


# ---- once


async def test_a_workflow_runs_once_for_each_key(agents: ModuleType) -> None:
    key, other = uuid4().hex, uuid4().hex
    first = post(f"AsyncNotificationsAgent/{key}/run", {"prompt": "Summarise this: One. Two."})
    assert first.json() == "One."
    for path in ("AsyncNotificationsAgent/{}/run", "restate/call/AsyncNotificationsAgent/{}/run"):
        again = post(path.format(key), {"prompt": "Summarise this: Three. Four."})
        assert (again.status_code, again.json()["code"]) == (409, 409)
        assert "already invoked" in again.json()["message"]
    sent = post(f"AsyncNotificationsAgent/{key}/run/send", {"prompt": "Summarise this: Five."})
    assert (sent.status_code, sent.json()["status"]) == (202, "PreviouslyAccepted")
    assert get(f"restate/workflow/AsyncNotificationsAgent/{key}/attach") == "One."
    assert tour.offline.calls == 1
    assert post(f"AsyncNotificationsAgent/{other}/run", {}).json() == "It is fast."


async def test_who_waits_hears_of_a_failure(agents: ModuleType) -> None:
    for body, trouble, status in (({}, True, 500), (None, False, 400)):
        key = uuid4().hex
        waiting = await tour.send(agents.on_notify, {}, key)
        if trouble:
            tour.offline.fail(times=3, status=503)
        assert post(f"AsyncNotificationsAgent/{key}/run", body).status_code == status
        failure = await failure_of(waiting)
        assert failure.status == status
        assert waiting.journal.steps == ["agent_response"]


async def test_a_promise_is_kept_once(serve: Serve) -> None:
    votes = restate.Workflow("OneVoteWorkflow")

    @votes.main("run")
    async def await_vote(ctx: restate.WorkflowContext) -> str:
        return await ctx.promise("vote", type_hint=str)

    @votes.handler()
    async def vote(ctx: restate.WorkflowSharedContext, value: str) -> None:
        await ctx.promise("vote", type_hint=str).resolve(value)

    serve(votes)
    key = uuid4().hex
    election = await tour.send(await_vote, key=key)
    await tour.call(vote, "yes", key)
    late = await tour.send(vote, "no", key)
    failure = await failure_of(late, "already completed")
    assert failure.status == 409
    assert await election.result() == "yes"


# ---- one step or several


@pytest.mark.parametrize(
    ("steps", "did"),
    [(["a b c"], ["a", "b", "c"] * 2), (["a", "b", "c"], ["a", "b", "c", "c"])],
)
async def test_a_crash_repeats_the_step_that_it_hits(
    serve: Serve, steps: list[str], did: list[str]
) -> None:
    done: list[str] = []

    async def work(what: str) -> None:
        for each in what.split():
            done.append(each)
            if done.count("c") == 1 and each == "c":
                endpoint.crash()
                await asyncio.sleep(60)

    service = restate.Service("WorkInSteps")

    @service.handler()
    async def run(ctx: restate.Context) -> None:
        for step in steps:
            await ctx.run_typed(step, work, what=step)

    endpoint = serve(service)
    invocation = await tour.send(run)
    await invocation.until("backing-off")
    endpoint = serve(service)
    await invocation.result()
    assert done == did
    assert [invocation.journal.attempts(step)[0] for step in steps] == [1] * (len(steps) - 1) + [2]


# ---- the exercises

HTTP = """
    import httpx
    async with httpx.AsyncClient() as http:
        address = f"{tour.server.up().ingress}/EligibilityAgent/run"
        opinion = (await http.post(address, json=claim.model_dump(by_alias=True))).json()
"""
HTTP_IN_A_STEP = """
    async def ask() -> str:
        import httpx
        async with httpx.AsyncClient() as http:
            address = f"{tour.server.up().ingress}/EligibilityAgent/run"
            return (await http.post(address, json=claim.model_dump(by_alias=True))).json()
    opinion = await ctx.run_typed("EligibilityAgent/run", ask)
"""
CALL = "    opinion = await ctx.service_call(run_eligibility_agent, claim)\n"
WRITE = '    return await ctx.run_typed("write down", write_down, quick, opinion)'
BYTES = "claim.model_dump_json(by_alias=True).encode()"
GENERIC = f"""
    raw = await ctx.generic_call("EligibilityAgent", "run", {BYTES})
    opinion = json.loads(raw)
"""
SEND = """
    sent = ctx.service_send(run_eligibility_agent, claim)
    opinion = await sent.invocation_id()
"""
PEEK = 'await ctx.promise("agent_response", type_hint=str).peek()'


def parts(source: str) -> tuple[str, str, str]:
    """Return what is before, in and after an exercise's last block."""
    before, _, rest = source.rpartition("    # stub:\n")
    block, _, after = rest.partition("    # end\n")
    lines = block.splitlines(keepends=True)
    return before, "".join(line for line in lines if not line.startswith("    # ")), after


async def judged(agents: ModuleType, serve: Serve, number: str, body: str, end: str = "") -> Any:
    """Run an exercise with another body, and return the verdict."""
    before, _, after = parts(solution(number))
    source = before if "return await ctx" in body else before.replace("seconds=0.5", "seconds=60")
    names = namespace(agents, source + body + (end or after), tour=tour)
    if number == "04.1":
        serve(names["second"])
        await tour.call(names["second_opinion"], CLAIM)
    else:
        serve(names["patience"])
        key = uuid4().hex
        thinking = await tour.send(names["think"], {}, key)
        await tour.call(names["status"], key=key)
        with suppress(tour.TourError):  # it may have finished
            await thinking.kill()
    return tour.check(number)


@pytest.mark.parametrize(
    ("body", "end", "said"),
    [
        (CALL, "", "made once"),
        (GENERIC, "", "made once"),
        (HTTP, "", "every retry asks it again"),
        (HTTP_IN_A_STEP, "", "starts one more"),
        (SEND, "", "nobody waits"),
        (CALL + CALL, "", "called 2 times"),
        (CALL, "    return opinion\n", "`write down` has gone"),
        ("    opinion = 'eligible'\n", "", "knows nothing of the question"),
        (CALL, f"    {WRITE.strip().removeprefix('return ')}\n", "returned nothing"),
    ],
)
async def test_exercise_1(agents: ModuleType, serve: Serve, body: str, end: str, said: str) -> None:
    quick = (
        "    quick = restate.RunOptions[str](initial_retry_interval=timedelta(milliseconds=5))\n"
    )
    verdict = await judged(agents, serve, "04.1", body, end and quick + end)
    assert said in verdict.message
    assert bool(verdict) is (said == "made once")


async def test_the_question_over_http_starts_an_agent_for_each_retry(
    agents: ModuleType, serve: Serve
) -> None:
    """What the exercise says of its stub."""
    counted = "select id from sys_invocation where target = 'EligibilityAgent/run'"
    before = len(server.query(counted))
    await judged(agents, serve, "04.1", HTTP)
    assert len(server.query(counted)) == before + 3
    await judged(agents, serve, "04.1", CALL)
    assert len(server.query(counted)) == before + 4


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (f'    return "done" if {PEEK} else "not yet"\n', "did not wait"),
        (f"    answer = {PEEK}\n    return answer or 'patience, please'\n", "did not wait"),
        ('    return await ctx.promise("agent_response", type_hint=str)\n', "waited"),
        (f"    return {PEEK}\n", "answered None"),
        (f"    answer = {PEEK}\n    return f'ready: {{answer}}'\n", "answered 'ready: None'"),
        ('    return "still at work"\n', "nothing has looked"),
        (
            f'    {PEEK.replace("agent_response", "answer")}\n    return "no"\n',
            "nothing has looked",
        ),
        ('    await ctx.promise("agent_response").resolve("x")\n    return "x"\n', "resolved"),
    ],
)
async def test_exercise_2(agents: ModuleType, serve: Serve, body: str, said: str) -> None:
    if "resolved" in said:  # then the workflow itself cannot: it fails, which is not judged
        before, _, after = parts(solution("04.2"))
        names = namespace(agents, before + body + after, tour=tour)
        serve(names["patience"])
        await tour.call(names["status"], key=uuid4().hex)
        verdict = tour.check("04.2")
    else:
        verdict = await judged(agents, serve, "04.2", body)
    assert said in verdict.message
    assert bool(verdict) is (said == "did not wait")


def test_the_stubs_are_told_from_the_solutions(agents: ModuleType) -> None:
    for number in ("04.1", "04.2"):
        given = stub(solution(number))
        assert "# TODO" in given
        compile(given, number, "exec")


# ---- on their own


def test_the_exported_project_serves_them_all(agents: ModuleType, tmp_path: Path) -> None:
    """One app, one deployment, and every handler works on the defaults that its README shows."""
    export("04", tmp_path / "agent")
    port = free_port()
    with alone(tmp_path / "agent", port) as process:
        try:
            register(port)
            review = post("HumanApprovalWorkflow/requestApproval/send", CLAIM).json()
            assert UUID(post(TICKET, {}).json())
            assert "charged twice" in post("ToolRouter/route", {}).json()
            assert "in progress" in post("TicketDesk/report", {}).json()
            assert post("TicketDesk/remind", {}).json().startswith("inv_")
            key = uuid4().hex
            assert post(f"AsyncNotificationsAgent/{key}/run", {}).json() == "It is fast."
            mail = post(f"AsyncNotificationsAgent/{key}/on_notify", {}).json()
            assert mail == "To ada@example.com: It is fast."
            assert post("MultiAgentClaimApproval/run", {}).json().startswith("Approved. ")
            claim = post("SubWorkflowClaimAgent/run/send", {}).json()
            for waiting in (review, claim):
                sql = f"select status from sys_invocation where id = '{waiting['invocationId']}'"
                assert server.query(sql)[0]["status"] != "completed"
        finally:
            process.terminate()
        assert process.wait(10) == 0
