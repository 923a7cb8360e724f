"""The short forms of the long campaigns, each with a fixed seed."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.campaigns.faults import repeated
from tour.journal import Attempt, Journal, Step

CAMPAIGNS = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "campaign",
    ["faults.py --faults 40 --seed 11", "dying_kernels.py --rounds 3 --seed 11"],
    ids=lambda command: str(command).partition(".py")[0],
)
def test_a_campaign_finds_nothing(campaign: str) -> None:
    script, *options = campaign.split()
    command = [sys.executable, str(CAMPAIGNS / script), *options]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def at(second: int) -> datetime:
    return datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC)


def journal(*tries_of_first: int) -> Journal:
    """Two steps, one after the other; the first was tried at these seconds."""
    tries = tuple(Attempt(at(second), at(second + 1)) for second in tries_of_first)
    first = Step("run", "first", "completed", at(0), at(5), attempts=tries)
    second = Step("run", "second", "completed", at(6), at(8), attempts=(Attempt(at(6), at(7)),))
    return Journal("inv", "Service/run", "completed", at(0), at(9), (first, second))


def test_what_ran_again_after_its_result_was_needed_is_found() -> None:
    assert not [*repeated(journal(1, 3), allowed=1)]
    assert "ran again after its result was stored" in next(repeated(journal(1, 7), allowed=1))


def test_more_tries_than_faults_can_explain_are_found() -> None:
    assert not [*repeated(journal(1, 2, 3), allowed=2)]
    assert "2 tries ran again where 1 were in flight" in next(repeated(journal(1, 2, 3), allowed=1))
