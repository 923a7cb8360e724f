"""What every test and every notebook under test runs in: an empty home, the installed server."""

import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tour import endpoint, server

HOME = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Take the installed server along into an empty home, where no learner's work lies."""
    binary = server.find()
    forget("OPENAI_", "RESTATE_")
    os.environ["RESTATE_SERVER"] = str(binary)
    config.stash[HOME] = Path(tempfile.mkdtemp(prefix="tour-test-"))
    os.environ["TOUR_HOME"] = str(config.stash[HOME])


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave nothing running and nothing lying about."""
    server.down()
    shutil.rmtree(config.stash[HOME])


def forget(*prefixes: str) -> None:
    """Take variables out of the environment."""
    for name in [name for name in os.environ if name.startswith(prefixes)]:
        del os.environ[name]


def close_clients() -> None:
    """Close the clients that agents keep open for as long as their kernel lives."""
    if openai := sys.modules.get("openai"):
        for client in [each for each in gc.get_objects() if isinstance(each, openai.AsyncOpenAI)]:
            endpoint.thread().submit(client.close()).result(10)


@pytest.fixture(autouse=True, scope="module")
def _model_of_its_own() -> Iterator[None]:
    """Forget the model that a module's tests have started: no kernel of another's may ask it."""
    yield
    forget("OPENAI_")
    close_clients()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run async tests on asyncio, as kernels do."""
    return "asyncio"
