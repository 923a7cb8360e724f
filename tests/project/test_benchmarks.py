"""The benchmarks still run, and do not take a contender's word for its work."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.helpers import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

from peers import work
from side_by_side import Bout, WentWrong, table

CONTENDERS = ["ours", "plain_asyncio"]
ROWS = ["agent", "agent-parallel", "step-1", "fan-out-8", "recovery", "first"]


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_ours_and_plain_asyncio_do_the_work(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    options = {"--rounds": "1", "--share": "0.02", "--json": str(figures)}
    options |= {"--only": ",".join(CONTENDERS), "--rows": ",".join(ROWS)}
    command = [sys.executable, "benchmarks/side_by_side.py", *sum(options.items(), ())]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    [taken] = json.loads(figures.read_text())["rounds"]
    assert {name: list(rows) for name, rows in taken.items()} == dict.fromkeys(CONTENDERS, ROWS)
    assert [line.split()[0] for line in ran.stdout.splitlines()[1:7]] == ROWS


@pytest.mark.parametrize(
    ("result", "ran", "said"),
    [
        (0, {"0": 1}, "gave 0, not '1'"),
        (1, {"0": 1}, "ran {'0': 1}, not"),
        (1, {"0": 2, "1": 1}, "ran {'0': 2"),
    ],
)
def test_work_that_was_not_done_is_no_figure(result: int, ran: dict[str, int], said: str) -> None:
    job = {"kind": "steps", "count": 2, "seconds": 0}
    work.check(job, 1, Counter(["0", "1"]))
    with pytest.raises(ValueError, match=said):
        work.check(job, result, Counter(ran))


@pytest.mark.parametrize(
    ("name", "begun"),
    [
        ("ours", "0 1 2 3 4 0 1 2 3 4 5 6 7 8 9"),  # finished steps ran again
        ("ours", "0 1 2 3 4 4 5 6 7 8 9 9"),  # one ran twice later on
        ("ours", "0 1 2 3 4 5 6 7 8 9"),  # it was not killed in the middle of a step
        ("plain_asyncio", "0 1 2 3 4 4 5 6 7 8 9"),  # it cannot have kept anything
    ],
)
def test_a_recovery_that_is_none_is_found(tmp_path: Path, name: str, begun: str) -> None:
    bout = Bout(name, tmp_path)
    (tmp_path / "ledger").write_text(begun)
    with pytest.raises(WentWrong, match=f"{name} gave 45 and ran"):
        bout.check_recovery(45)
    (tmp_path / "ledger").write_text("0 1 2 3 4 4 5 6 7 8 9" if name == "ours" else begun * 2)
    with pytest.raises(WentWrong, match=f"{name} gave 44"):
        bout.check_recovery(44)


def test_the_table_compares_round_by_round() -> None:
    rounds = [
        {"ours": {"agent": 1.0}, "other": {"agent": 2.0}},
        {"ours": {"agent": 3.0}, "other": {"agent": 6.0}},
        {"ours": {"agent": 9.0}, "other": {"agent": 9.0}},
    ]
    _, row = table(rounds, ["agent"], ["ours", "other"])
    assert row.split() == ["agent", "3000.00", "(1.00)", "6000.00", "(2.00)"]
