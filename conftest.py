"""What every test and every notebook under test runs in: an empty home, the installed server."""

import gc
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.fresh_home import forget, fresh_home
from tour import endpoint

HOME = pytest.StashKey[ExitStack]()
MAY_DIFFER = Path(__file__).with_name("tests") / "nbval_sanitize.cfg"
LIVE_PICTURE = '<div class="tour-timeline"><svg '


def pytest_configure(config: pytest.Config) -> None:
    """Take the installed server along into an empty home, where no learner's work lies."""
    if getattr(config.option, "nbval_sanitize_with", "") is None:
        config.option.nbval_sanitize_with = str(MAY_DIFFER)
    config.stash[HOME] = ExitStack()
    worker = getattr(config, "workerinput", {"testrunuid": "", "workerid": "gw0"})
    number = int(worker["workerid"].removeprefix("gw"))
    config.stash[HOME].enter_context(fresh_home(worker["testrunuid"], number))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave nothing running and nothing lying about."""
    config.stash[HOME].close()


def pytest_itemcollected(item: Any) -> None:
    """Let nbval take a picture in a notebook's file and one from the kernel for the same."""
    if compare := getattr(item, "compare_outputs", None):
        item.compare_outputs = lambda new, kept: compare(*map(with_pictures, (new, kept)))


def with_pictures(outputs: list[Any]) -> list[Any]:
    """Call both pictures of a journal the same: a kernel's SVG, and the PNG that a file holds.

    All other HTML is compared, and so is that there is a picture at all: nbval skips PNGs.
    """
    named = deepcopy(outputs)
    for data in (output["data"] for output in named if "data" in output):
        if data.get("text/html", "").startswith(LIVE_PICTURE):
            data["image/png"] = data.pop("text/html")
        if data.pop("image/png", None):
            data["picture"] = "drawn"
    return named


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
