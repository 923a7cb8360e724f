"""What every test and every notebook under test runs in: an empty home, the installed server."""

import gc
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.helpers.fresh_home import forget, fresh_home
from tour import endpoint

HOME = pytest.StashKey[ExitStack]()


def pytest_configure(config: pytest.Config) -> None:
    """Take the installed server along into an empty home, where no learner's work lies."""
    config.stash[HOME] = ExitStack()
    worker = getattr(config, "workerinput", {"testrunuid": "", "workerid": "gw0"})
    number = int(worker["workerid"].removeprefix("gw"))
    config.stash[HOME].enter_context(fresh_home(worker["testrunuid"], number))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave nothing running and nothing lying about."""
    config.stash[HOME].close()


def close_clients() -> None:
    """Close the clients that agents keep open for as long as their kernel lives."""
    if openai := sys.modules.get("openai"):
        # By type(), for isinstance() would make openai load all that it loads when it is needed.
        clients = [x for x in gc.get_objects() if issubclass(type(x), openai.AsyncOpenAI)]
        for client in clients:
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
