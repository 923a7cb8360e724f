"""docs/cheat_sheet.md: every line runs, and adds to the journal what the sheet says."""

import os
import re
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from textwrap import indent
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
import restate

import tour
from tests.helpers import ROOT
from tests.helpers.serving import Serve
from tour import server

pytestmark = pytest.mark.anyio

SHEET = (ROOT / "docs" / "cheat_sheet.md").read_text()
SECTIONS = dict(re.findall(r"(?ms)^## (.+?)\n(.*?)(?=^## |\Z)", SHEET))
LINE = re.compile(r"^\| [^|]+ \| `(.+)` \|(.*)\|$", re.MULTILINE)
HANDLERS = {"In every handler": "run", "In a virtual object": "message", "In a workflow": "decide"}
NO_STEPS = ("Input", "Output", "GetLazyState", "GetEagerState", "GetEagerStateKeys")
SHOWN = "select entry_type from sys_journal where id = '{}' order by index"
DEPLOYMENT = "select endpoint from sys_deployment order by created_at desc limit 1"
DECORATED = "@{decorator}\nasync def {name}(ctx, request):\n{body}\n    return 'done'\n"


asking = restate.Service("Asks", inactivity_timeout=timedelta(0))


@asking.handler()
async def asks(ctx: restate.Context) -> str:
    return str(await ctx.awakeable(type_hint=str)[1])


def body(section: str) -> str:
    return indent("\n".join(line for line, _ in LINE.findall(SECTIONS[section])), "    ")


def promised(section: str) -> list[str]:
    columns = ", ".join(steps.strip() for _, steps in LINE.findall(SECTIONS[section]))
    return [step for step in columns.split(", ") if step]


def commands(invocation: str) -> list[str]:
    entries = [row["entry_type"] for row in server.query(SHOWN.format(invocation))]
    found = [entry.removeprefix("Command: ") for entry in entries if entry.startswith("Command")]
    return [command for command in found if command not in NO_STEPS]


@pytest.fixture
def sheet(serve: Serve) -> Iterator[SimpleNamespace]:
    """The services of the sheet, served."""
    tour.start()
    names: dict[str, Any] = {"every": restate.Service("Every")}
    [before] = re.findall(r"(?s)```python\n(.+?)```", SECTIONS["Before the handlers"])
    exec(before, names)
    decorators = "every.handler()", "chat.handler()", "review.main()"
    for decorator, (section, name) in zip(decorators, HANDLERS.items(), strict=True):
        exec(DECORATED.format(decorator=decorator, name=name, body=body(section)), names)
    serve(*(names[name] for name in ("researcher", "chat", "review", "every")), asking)
    yield SimpleNamespace(**names)
    for row in server.query("select id from sys_invocation where status != 'completed'"):
        server.request("PATCH", f"/invocations/{row['id']}/kill")


async def test_every_line_in_a_handler_adds_what_the_sheet_says(sheet: SimpleNamespace) -> None:
    done = await tour.call(sheet.run, None)
    assert done.result == "done"
    assert commands(done.id) == promised("In every handler")
    remembered = await tour.call(sheet.message, None, key="grace")
    assert commands(remembered.id) == promised("In a virtual object")
    decided = await tour.call(sheet.decide, None, key=uuid4().hex)
    assert commands(decided.id) == promised("In a workflow")


async def test_every_line_in_a_terminal_answers_what_the_sheet_says(sheet: SimpleNamespace) -> None:
    for line, status in LINE.findall(SECTIONS["From a terminal"]):
        assert answer(line, await somebody(sheet, line)) == int(status), line


async def somebody(sheet: SimpleNamespace, line: str) -> dict[str, str]:
    """Return the ids that a line may name, of invocations that are as the line wants them."""
    done = await tour.call(sheet.research, "Restate")
    paused = await tour.send(sheet.wait_for_orders)
    if "$PAUSED" in line:
        await paused.until("running")
        server.request("PATCH", f"/invocations/{paused.id}/pause")
        await paused.until("paused")
    run = await tour.send(asks)
    await run.until("suspended")
    [awakeable] = run.journal.entries
    return {"INVOCATION": done.id, "RUNNING": run.id, "PAUSED": paused.id, "ID": awakeable.id}


def answer(line: str, ids: dict[str, str]) -> int:
    """Run a line in a shell, at the addresses of this test, and return the status it answers."""
    running = server.ensure()
    [endpoint] = {row["endpoint"] for row in server.query(DEPLOYMENT)}
    for usual, here in (
        ("localhost:8080", running.ingress),
        ("localhost:9070", running.admin),
        ("http://localhost:9080", endpoint),
    ):
        line = line.replace(usual, here)
    told = subprocess.run(
        line.replace("curl", "curl --silent --output /dev/null --write-out '%{http_code}'", 1),
        shell=True,
        env=os.environ | ids | {"JSON": "content-type: application/json"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=20,
    )
    return int(told.stdout)
