"""The agents of notebook 2, that wait for a human: over HTTP, under crashes, given any answer."""

import asyncio
import base64
import json
import re
import signal
from datetime import timedelta
from pathlib import Path
from queue import SimpleQueue
from types import ModuleType
from typing import Any

import pytest
import restate

import tour
from tests.helpers.agents import agents_of, failure_of, namespace, says, tool_call
from tests.helpers.documented import CLAIM_RULES
from tests.helpers.exercise_source import FOLDER
from tests.helpers.exported import alone, register
from tests.helpers.outside import attach, post
from tests.helpers.serving import Serve
from tour import server
from tour.asgi import free_port
from tour.export import export
from tour.invocation import Invocation

pytestmark = pytest.mark.anyio

PROMPT = "Process my hospital bill of 3000 USD for a broken leg."
CLAIM, IN_TIME, PAYMENT = (
    "HumanClaimApprovalAgent",
    "HumanClaimApprovalWithTimeoutAgent",
    "GatedPaymentAgent",
)
ASKED = ["LLM call", "awakeable", "request-review"]


class Human:
    """Reads the mails of the agents and answers them, as another system would: by HTTP alone."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, str]] = []
        self._unread: SimpleQueue[str] = SimpleQueue()

    async def mail(self, message: str, awakeable_id: str) -> None:
        self.mails.append((message, awakeable_id))
        self._unread.put(awakeable_id)

    async def asked(self) -> str:
        """Wait for the next mail and return the id in it."""
        return await asyncio.to_thread(self._unread.get, timeout=10)


module = agents_of("02", "approval", "in_time", "gated")


@pytest.fixture
def human(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Human:
    human = Human()
    monkeypatch.setattr(module, "request_human_review", human.mail)
    return human


@pytest.fixture
def agent(module: ModuleType, human: Human) -> ModuleType:
    return module


def answer(awakeable_id: str, body: str | bytes, how: str = "resolve") -> int:
    kind = {"content-type": "application/json" if how == "resolve" else "text/plain"}
    path = f"/restate/awakeables/{awakeable_id}/{how}"
    return post(path, content=body, headers=kind).status_code


# ---- as others see them


async def test_the_documented_call(agent: ModuleType, human: Human) -> None:
    body = {"prompt": PROMPT}
    sent = await asyncio.to_thread(post, f"/{CLAIM}/run/send", json=body)
    assert sent.status_code == 202
    awakeable_id = await human.asked()
    assert human.mails[0][0].startswith('Please review: {"reason":"Process my hospital bill')
    assert await asyncio.to_thread(answer, awakeable_id, "true") == 202
    result = await attach(sent.json()["invocationId"])
    assert result.json() == "Approved. Human approval: granted."
    assert tour.latest(agent.run).journal.steps == [*ASKED, "LLM call"]


async def test_one_mail_and_one_request_are_all_that_a_waiting_caller_needs(
    agent: ModuleType, human: Human
) -> None:
    """A caller that waits gets the answer over the connection it has."""
    call = asyncio.create_task(asyncio.to_thread(post, f"/{CLAIM}/run", json={"prompt": PROMPT}))
    assert await asyncio.to_thread(answer, await human.asked(), "false") == 202
    assert (await call).json() == "Rejected. Human approval: denied."


def test_the_playground_knows_the_default_claim(agent: ModuleType) -> None:
    for service in (CLAIM, IN_TIME, PAYMENT):
        schema = json.dumps(server.request("GET", f"/services/{service}/openapi").json())
        assert json.dumps({"default": PROMPT})[1:-1] in schema


def test_the_snippets_make_three_services(agent: ModuleType) -> None:
    services = [value for value in vars(agent).values() if isinstance(value, restate.Service)]
    assert [service.name for service in services] == [CLAIM, IN_TIME, PAYMENT]
    assert timedelta(hours=1) <= agent.PATIENCE


async def test_what_the_model_is_asked(agent: ModuleType) -> None:
    await tour.call(agent.run, {"prompt": "Please pay 20 USD for plasters."})
    [request] = tour.offline.requests
    assert request["messages"][0] == {"role": "system", "content": CLAIM_RULES}
    assert request["parallel_tool_calls"] is False
    [tool] = request["tools"]
    assert tool["function"]["name"] == "human_approval"
    assert tool["function"]["description"] == "Ask for human approval for high-value claims."
    fields = tool["function"]["parameters"]["properties"]
    assert set(fields) == {"date", "category", "reason", "amount", "placeOfService"}


async def test_the_printed_mail_says_how_to_answer(
    module: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    await module.request_human_review("Please review: 3", "sign_1abc")
    said = capsys.readouterr().out
    assert "Please review: 3\n" in said
    assert "/restate/awakeables/sign_1abc/resolve" in said


# ---- requests that make no sense


@pytest.mark.parametrize("path", [f"/{CLAIM}/run", f"/{IN_TIME}/run", f"/{PAYMENT}/run"])
def test_an_empty_request_is_refused(agent: ModuleType, path: str) -> None:
    reply = post(path)
    assert reply.status_code == 400
    assert reply.json()["message"].startswith("an empty request: send")
    assert tour.offline.calls == 0


@pytest.mark.parametrize("path", [f"/{CLAIM}/run", f"/{IN_TIME}/run", f"/{PAYMENT}/run"])
@pytest.mark.parametrize("body", [{"claim": "3000"}, {"prompt": 3000}, ["3000"], "3000"])
def test_a_request_of_another_form_fails_at_once(agent: ModuleType, path: str, body: Any) -> None:
    reply = post(path, json=body)
    assert reply.status_code in {400, 500}
    assert "ClaimPrompt" in reply.json()["message"]
    assert tour.offline.calls == 0


@pytest.mark.parametrize("arguments", ["{", "[]", "{}", "null", '{"amount": "a lot"}', "[" * 9999])
def test_the_arguments_of_a_tool_call_are_checked(agent: ModuleType, arguments: str) -> None:
    with pytest.raises(restate.TerminalError, match="makes no sense"):
        agent.read_claim({"function": {"name": "human_approval", "arguments": arguments}})


@pytest.mark.parametrize("arguments", ["{", '{"amount": "a lot"}'])
@pytest.mark.parametrize("handler", ["run", "run_in_time", "pay"])
async def test_a_tool_call_that_makes_no_sense_is_terminal(
    agent: ModuleType, monkeypatch: pytest.MonkeyPatch, handler: str, arguments: str
) -> None:
    says(agent, monkeypatch, wants_approval(arguments), ever=True)
    run = await tour.send(getattr(agent, handler), {})
    await failure_of(run, "makes no sense")
    assert run.journal.attempts("LLM call") == [1]


@pytest.mark.parametrize(
    ("handler", "tool"), [("run", "human_approval"), ("run_in_time", "approval_in_time")]
)
async def test_the_loop_ends_after_five_rounds(
    agent: ModuleType, monkeypatch: pytest.MonkeyPatch, handler: str, tool: str
) -> None:
    async def shrugs(ctx: restate.Context, claim: Any) -> str:
        return "perhaps"

    says(agent, monkeypatch, wants_approval('{"amount": 2000}'), ever=True)
    monkeypatch.setattr(agent, tool, shrugs)
    run = await tour.send(getattr(agent, handler), {})
    await failure_of(run, "no answer after five rounds")
    assert run.journal.steps == ["LLM call"] * 5


async def test_the_paying_loop_ends_after_five_rounds(
    agent: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    says(agent, monkeypatch, wants_approval('{"amount": 2}'), ever=True)
    run = await tour.send(agent.pay, {})
    await failure_of(run, "no answer after five rounds")
    assert run.journal.steps == ["LLM call", "pay claim"] * 5


def wants_approval(arguments: str) -> dict[str, Any]:
    return tool_call("human_approval", arguments=arguments)


# ---- claims that are not in the notebook

SMALL = [
    ("I broke a window, please pay 80 dollars.", "80"),
    ("Please refund 999.50 EUR for my stay in hospital", "999.5"),
    ("Claim: taxi to the clinic, 1000 USD", "1000"),
]
LARGE = [
    ("I claim $12,500 for a stolen car", 12500, True),
    ("Please refund 1001 EUR for my stay in hospital", 1001, False),
    ("My claim: 1200 USD, reason: flood, on 2026-03-01", 1200, True),
]


@pytest.mark.parametrize("handler", ["run", "run_in_time"])
@pytest.mark.parametrize(("prompt", "amount"), SMALL)
async def test_a_small_claim_is_decided_without_a_human(
    agent: ModuleType, human: Human, handler: str, prompt: str, amount: str
) -> None:
    run = await tour.call(getattr(agent, handler), {"prompt": prompt})
    assert run.result == f"Approved: {amount} is not more than 1000, so I decide it myself."
    assert run.journal.steps == ["LLM call"]
    assert human.mails == []


@pytest.mark.parametrize("handler", ["run", "run_in_time"])
@pytest.mark.parametrize("claim", LARGE)
async def test_a_large_claim_waits_for_a_human(
    agent: ModuleType, human: Human, handler: str, claim: tuple[str, int, bool]
) -> None:
    prompt, amount, granted = claim
    deadline = ["sla"] if handler == "run_in_time" else []
    run = await tour.send(getattr(agent, handler), {"prompt": prompt})
    await tour.approve(run, granted)
    word = "granted" if granted else "denied"
    assert f"Human approval: {word}." in await run.result()
    assert run.journal.steps == [*ASKED, *deadline, "LLM call"]
    assert run.journal.attempts("LLM call") == [1, 1]
    [(message, _)] = human.mails
    assert json.loads(message.removeprefix("Please review: "))["amount"] == amount


@pytest.mark.parametrize(
    ("prompt", "amount", "asked"),
    [
        ("Please pay my dentist: 999.99 USD for a crown.", "999.99", False),
        ("Pay my doctor's bill: 12 EUR", "12", False),
        ("Please pay 1000 EUR for a cure at the sea", "1000", True),
        ("I claim $4,200 for a new heating", "4200", True),
        ("Pay 1000.01 USD for a lamp that was 999 last year", "1000.01", True),
    ],
)
async def test_the_gate_s_boundary_is_code(
    agent: ModuleType, human: Human, prompt: str, amount: str, asked: bool
) -> None:
    run = await tour.send(agent.pay, {"prompt": prompt})
    if asked:
        await tour.approve(run)
    assert await run.result() == f"pay claim: {amount} paid."
    gate = ["awakeable", "request-review"] if asked else []
    assert run.journal.steps == ["LLM call", *gate, "pay claim", "LLM call"]
    assert len(human.mails) == asked


async def test_nothing_is_paid_before_the_gate_opens_or_when_it_does_not(
    agent: ModuleType, human: Human, monkeypatch: pytest.MonkeyPatch
) -> None:
    paid: list[float] = []

    async def pay_claim(amount: float) -> str:
        paid.append(amount)
        return "paid"

    monkeypatch.setattr(agent, "pay_claim", pay_claim)
    run = await tour.send(agent.pay, {"prompt": "Please pay 5000 EUR for a cure at the sea"})
    await run.until("suspended")
    assert (run.journal.steps, run.llm_calls, paid) == (ASKED, 1, [])
    await tour.approve(run, False)
    assert await run.result() == "Stopped by a human. Nothing was paid."
    assert (run.llm_calls, paid) == (1, [])


# ---- answers


@pytest.mark.parametrize(
    ("body", "understood"),
    [
        (b"true", True),
        (b" false\n", False),
        (b'"true"', None),
        (b'"no"', None),
        (b"no", None),
        (b"1", None),
        (b"0", None),
        (b"null", None),
        (b"", None),
        (b"\xff\xfe", None),
        (b"[" * 100_000, None),
        (b'{"approved": true}', None),
    ],
)
def test_an_answer_is_yes_or_no_or_neither(
    agent: ModuleType, body: bytes, understood: bool | None
) -> None:
    assert agent.read_answer(body) is understood


async def test_an_answer_that_is_neither_is_asked_for_again_and_not_for_ever(
    agent: ModuleType, human: Human
) -> None:
    run = await tour.send(agent.run, {})
    for body in ("no", "", '{"approved": false}'):
        assert await asyncio.to_thread(answer, await human.asked(), body) == 202
    await failure_of(run, "asked three times, and had no yes and no no")
    assert run.journal.attempts("request-review") == [1, 1, 1]
    assert run.llm_calls == 1
    ids = {awakeable_id for _, awakeable_id in human.mails}
    assert len(ids) == 3
    assert human.mails[1][0].startswith("Please answer with true or false, nothing else.")


@pytest.mark.parametrize("body", ["no", '"yes"', "1"])
async def test_with_a_deadline_what_is_neither_is_a_no(
    agent: ModuleType, human: Human, body: str
) -> None:
    run = await tour.send(agent.run_in_time, {})
    await asyncio.to_thread(answer, await human.asked(), body)
    assert await run.result() == "Rejected. Human approval: denied."


async def test_a_rejection_by_http_fails_the_run_with_its_words(
    agent: ModuleType, human: Human
) -> None:
    run = await tour.send(agent.run, {})
    assert await asyncio.to_thread(answer, await human.asked(), "not insured", "reject") == 202
    await failure_of(run, r"status 500: not insured$")
    assert run.llm_calls == 1


async def test_what_the_server_says_to_answers_that_reach_nobody(
    agent: ModuleType, human: Human
) -> None:
    run = await tour.send(agent.run, {})
    awakeable_id = await human.asked()
    unknown = f"{awakeable_id[:12]}AAAA{awakeable_id[16:]}"
    assert answer(unknown, "true") == answer(unknown, "no", "reject") == 202
    assert answer("sign_1abc", "true") == answer("no-id", "true") == 400
    await run.until("suspended")
    assert answer(awakeable_id, "false") == answer(awakeable_id, "true") == 202
    assert await run.result() == "Rejected. Human approval: denied."
    assert answer(awakeable_id, "true") == 202, "long after the run has completed"


async def test_one_id_gives_away_the_next(agent: ModuleType, human: Human) -> None:
    """An id is no secret: its last bytes are a number that counts up."""
    run = await tour.send(agent.run, {})
    awakeable_id = await human.asked()
    decoded = base64.urlsafe_b64decode(awakeable_id.removeprefix("sign_1") + "==")
    following = decoded[:-1] + bytes([decoded[-1] + 1])
    guessed = "sign_1" + base64.urlsafe_b64encode(following).decode().rstrip("=")
    assert answer(guessed, "true") == 202, "before anybody has asked"
    assert answer(awakeable_id, "perhaps") == 202
    assert await run.result() == "Approved. Human approval: granted."
    assert human.mails[1][1] == guessed


# ---- waits


async def test_a_crash_while_it_waits_and_is_not_suspended_yet(
    agent: ModuleType, human: Human, serve: Serve
) -> None:
    endpoint = serve(agent.approval)
    run = await tour.send(agent.run, {})
    awakeable_id = await human.asked()
    endpoint.crash()
    await run.until("backing-off")
    assert await asyncio.to_thread(answer, awakeable_id, "true") == 202
    serve(agent.approval)
    assert await run.result() == "Approved. Human approval: granted."
    assert run.journal.attempts("LLM call") == [1, 1]
    assert run.llm_calls == 2


async def test_a_mail_that_was_cut_goes_again_with_the_same_id(
    agent: ModuleType, human: Human, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow_mail(message: str, awakeable_id: str) -> None:
        await human.mail(message, awakeable_id)
        await asyncio.sleep(0.3)

    monkeypatch.setattr(agent, "request_human_review", slow_mail)
    endpoint = serve(agent.approval)
    run = await tour.send(agent.run, {})
    awakeable_id = await human.asked()
    endpoint.crash()
    serve(agent.approval)
    assert await human.asked() == awakeable_id
    await tour.approve(run)
    assert await run.result() == "Approved. Human approval: granted."
    assert run.journal.attempts("request-review") == [2]
    assert run.llm_calls == 2


async def test_it_is_suspended_only_after_the_time_that_the_service_names(serve: Serve) -> None:
    patient = restate.Service("AwakeablesPatient")
    brief = restate.Service("AwakeablesBrief", inactivity_timeout=timedelta(milliseconds=100))
    ids: dict[str, list[str]] = {"AwakeablesPatient": [], "AwakeablesBrief": []}

    def waits(service: restate.Service) -> Any:
        @service.handler("run")
        async def run(ctx: restate.Context) -> bool:
            awakeable_id, approved = ctx.awakeable(type_hint=bool)
            ids[service.name].append(awakeable_id)
            return bool(await approved)

        return run

    handlers = [waits(patient), waits(brief)]
    serve(patient, brief)
    runs: list[Invocation] = [await tour.send(handler) for handler in handlers]
    await runs[1].until("suspended")
    await asyncio.sleep(0.5)
    assert await runs[0].status() == "running"
    for run in runs:
        await tour.approve(run)
        assert await run.result() is True
    assert len(ids["AwakeablesPatient"]) == 1
    assert len(ids["AwakeablesBrief"]) > 1, "entered again"
    assert len(set(ids["AwakeablesBrief"])) == 1, "with the id it had before"


async def test_an_answer_that_comes_too_late_changes_nothing(
    agent: ModuleType, human: Human, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "PATIENCE", timedelta(milliseconds=200))
    run = await tour.call(agent.run_in_time, {"prompt": "Pay 7000 USD for my flooded cellar."})
    assert run.result == "Rejected. Human approval: denied, nobody answered in time."
    before = run.journal
    assert answer(await human.asked(), "true") == 202
    assert run.journal == before
    assert run.journal.steps == [*ASKED, "sla", "LLM call"]


async def test_a_deadline_does_not_move_when_the_agent_crashes(
    agent: ModuleType, human: Human, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "PATIENCE", timedelta(seconds=1))
    endpoint = serve(agent.in_time)
    run = await tour.send(agent.run_in_time, {})
    await run.until("sla")
    sleeps = f"select entry_lite_json from sys_journal where id = '{run.id}' and name = 'sla'"
    [before] = server.query(sleeps)
    endpoint.crash()
    monkeypatch.setattr(agent, "PATIENCE", timedelta(days=1))  # a new sleep would be this long
    serve(agent.in_time)
    assert await run.result(20) == "Rejected. Human approval: denied, nobody answered in time."
    assert "wake_up_time" in before["entry_lite_json"]
    assert server.query(sleeps) == [before]


# ---- exercises

SOLVED_1 = (FOLDER / "solutions" / "02.1.py").read_text()
SOLVED_2 = (FOLDER / "solutions" / "02.2.py").read_text()
ASK_1, ASK_2 = [line for line in SOLVED_1.splitlines(keepends=True) if "    await ctx.run" in line]
NO_STEPS = SOLVED_1.replace(ASK_1, "    await request_human_review(message, id_1)\n").replace(
    ASK_2, "    await request_human_review(message, id_2)\n"
)
SELECT = SOLVED_2[SOLVED_2.index("    patience = ") :]
ANSWERED = '    return "approved" if await answer else "rejected"\n'


@pytest.mark.parametrize(
    ("source", "answers", "verdict"),
    [
        (SOLVED_1, 2, "Solved."),
        (SOLVED_1.replace("all([", "any(["), 2, "the result is True, not False"),
        (NO_STEPS, 2, "0 steps `request-review`, not 2"),
        (SOLVED_1.replace(ASK_2, ""), 2, "1 steps `request-review`, not 2"),
        (SOLVED_1.replace("all([await first, await second])", "await first"), 1, "before both"),
        (
            SOLVED_1.replace(ASK_2, "    one = await first\n" + ASK_2).replace(
                "await first, await", "one, await"
            ),
            2,
            "The second reviewer was asked when the first had answered",
        ),
        (
            SOLVED_1.replace("    id_2, second = ctx.awakeable(type_hint=bool)\n", "")
            .replace("id_2", "id_1")
            .replace(", await second", ""),
            1,
            "the journal has 1",
        ),
    ],
    ids=["solution", "any", "no steps", "one mail", "one answer", "one by one", "one awakeable"],
)
async def test_exercise_1(
    agent: ModuleType, serve: Serve, source: str, answers: int, verdict: str
) -> None:
    scope = namespace(agent, source, asyncio=asyncio)
    serve(scope["four_eyes"])
    run = await tour.send(scope["four_eyes_run"], {})
    await run.until("suspended")
    for yes in (True, False)[:answers]:
        await tour.approve(run, yes)
    await run.result()
    assert verdict in repr(tour.check("02.1"))


@pytest.mark.parametrize(
    ("source", "verdict"),
    [
        (SOLVED_2, "Solved."),
        (SOLVED_2.replace(SELECT, ANSWERED), "no sleep: nothing but an answer ends the wait"),
        (
            SOLVED_2.replace(SELECT, SELECT.splitlines()[0] + "\n    await patience\n" + ANSWERED),
            "the agent was still waiting",
        ),
        (SOLVED_2.replace('return "escalated"', 'return "approved"'), "the result is 'approved'"),
        (
            SOLVED_2.replace(SELECT, "    await asyncio.sleep(0.3)\n    return 'escalated'\n"),
            "and no sleep",
        ),
    ],
    ids=["solution", "no end", "sleeps first", "approves", "a sleep of the process"],
)
async def test_exercise_2(agent: ModuleType, serve: Serve, source: str, verdict: str) -> None:
    scope = namespace(agent, source, asyncio=asyncio)
    serve(scope["hurried"])
    run = await tour.send(scope["hurried_run"], {})
    await asyncio.sleep(0.7)
    if await run.status() != "completed":
        await tour.approve(run)
    await run.result()
    assert verdict in repr(tour.check("02.2"))


# ---- on its own; the last test here: afterwards nobody serves these agents


async def test_the_exported_agent_waits_through_a_kill(agent: ModuleType, tmp_path: Path) -> None:
    """Without the tour it prints its mail, is killed while it waits, and goes on."""
    export("02", tmp_path)
    port = free_port()
    with alone(tmp_path, port) as first:
        register(port)
        run = await tour.send(agent.run, {})
        assert first.stdout
        said = [await asyncio.to_thread(first.stdout.readline) for _ in range(2)]
        await run.until("suspended")
    assert said[0].startswith("Please review: ")
    [awakeable_id] = re.findall(r"^Answer: POST /restate/awakeables/(\S+)/resolve$", said[1], re.M)
    assert answer(awakeable_id, "true") == 202
    with alone(tmp_path, port) as second:
        register(port)
        assert await run.result() == "Approved. Human approval: granted."
    assert second.returncode == -signal.SIGKILL
    assert run.journal.steps == ["LLM call", "request-review", "LLM call"]
    assert tour.offline.calls == 2
