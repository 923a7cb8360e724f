"""The stand-in as the only model there is, and a watch on where its clients connect.

These tests run in environments of their own, by `make clients`; `make test` leaves them out.
"""

import os
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.clients.talks import Weather
from tests.helpers.serving import stand_in
from tour.model import OfflineModel

# Read when a client is imported, so set before: what would be fetched or sent home.
os.environ |= {
    "DO_NOT_TRACK": "1",
    "LANGSMITH_TRACING": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
}
# A proxy would be asked in place of the stand-in.
for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
    del os.environ[name]

HOST_AT = {  # where the host stands among the arguments of an event
    "socket.connect": 1,
    "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0,
    "socket.sendto": 1,
}
elsewhere: list[str] = []


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Let nobody connect but to 127.0.0.1; note who tries, also if it hides its failure."""
    if event in HOST_AT:
        address = arguments[HOST_AT[event]]
        host = address[0] if isinstance(address, tuple) else address
        if host not in {"127.0.0.1", b"127.0.0.1"}:
            elsewhere.append(f"{event} to {host!r}")
            raise PermissionError(elsewhere[-1])


sys.addaudithook(watch)


@pytest.fixture(autouse=True)
def connections_elsewhere() -> Iterator[list[str]]:
    """What has tried to leave this machine: nothing, by the end of every test."""
    yield elsewhere
    assert elsewhere == []


@pytest.fixture(autouse=True, scope="session")
async def one_loop(anyio_backend: str) -> AsyncIterator[None]:
    """Give all async tests one event loop: some clients keep their connections for ever."""
    yield  # noqa: PT022 - the loop lasts for as long as this is not over


@pytest.fixture(autouse=True, scope="module")
def _model_of_its_own() -> None:
    """Leave these connections alone; for kernels the parent of this fixture closes them."""


@pytest.fixture(scope="session")
def running() -> Iterator[OfflineModel]:
    with stand_in() as model:
        yield model


@pytest.fixture(autouse=True)
def model(running: OfflineModel, monkeypatch: pytest.MonkeyPatch) -> OfflineModel:
    """The stand-in, found the way that any client finds a server: by the environment."""
    monkeypatch.setenv("OPENAI_BASE_URL", running.url)
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    monkeypatch.setenv("OPENAI_AGENTS_DISABLE_TRACING", "1")
    running.reset()
    return running


@pytest.fixture
def weather() -> Weather:
    return Weather()
