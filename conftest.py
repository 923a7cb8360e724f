"""What every test and every notebook under test runs in: an empty home, the installed server."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from tour import server

HOME = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Take the installed server along into an empty home, where no learner's work lies."""
    binary = server.find()
    for name in [name for name in os.environ if name.startswith(("OPENAI_", "RESTATE_"))]:
        del os.environ[name]
    os.environ["RESTATE_SERVER"] = str(binary)
    config.stash[HOME] = Path(tempfile.mkdtemp(prefix="tour-test-"))
    os.environ["TOUR_HOME"] = str(config.stash[HOME])


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave nothing running and nothing lying about."""
    server.down()
    shutil.rmtree(config.stash[HOME])


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run async tests on asyncio, as kernels do."""
    return "asyncio"
