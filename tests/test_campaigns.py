"""The short forms of the long campaigns, each with a fixed seed."""

import subprocess
import sys
from pathlib import Path

import pytest

CAMPAIGNS = Path(__file__).parent / "campaigns"


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
