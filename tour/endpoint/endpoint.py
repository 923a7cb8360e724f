"""The in-process endpoint: services on a port of this machine, registered with Restate."""

import errno
import json
import logging
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import restate

from tour import server
from tour.asgi import LOOPBACK, AsgiServer, LoopThread, is_free
from tour.endpoint import output
from tour.endpoint.counting import AnyService, counted
from tour.errors import Refused, TourError
from tour.home import home, locked

_endpoints: dict[int, "Endpoint"] = {}
_threads: list[LoopThread] = []


class Endpoint:
    """Services that listen on a port of this machine, until they crash or are stopped.

    Attributes:
        services: the names of the services.
        port: where they listen, on 127.0.0.1.
    """

    def __init__(self, services: tuple[AnyService, ...], port: int, **options: Any) -> None:
        """Listen on the port at once; `options` are those of `restate.app`.

        Raises:
            TourError: the port is taken.
        """
        self.services = [service.name for service in services]
        self.port = port
        app = restate.app([counted(service) for service in services], **options)
        try:
            self._server = AsgiServer(app, thread(), port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise TourError(
                f"Port {port}, the port of {self.services[0]}, is taken, most likely by another "
                f"kernel that serves it. Shut that kernel down, or serve it elsewhere: "
                f"tour.serve(..., port={port + 1})."
            ) from error

    def crash(self) -> None:
        """Cut every connection at once and lose all work in flight, as a dying machine does."""
        if not self._server.stop():
            _threads.clear()  # a handler blocks this one: the next endpoint gets another

    stop = crash

    def __repr__(self) -> str:
        """Name the services, and whether they listen."""
        state = "up" if self._server.alive else "down"
        return f"<Endpoint of {', '.join(self.services)}: {state}>"


def serve(*services: AnyService, port: int | None = None, **options: Any) -> Endpoint:
    """Serve services from this process and register them; replaces what it served there before.

    The port belongs to the first service's name, so that work in flight finds its endpoint again
    after a restart of the kernel. Invocations that are waiting for their next retry are
    resumed at once.

    Args:
        services: what `restate.Service(...)` and its like return.
        port: where to listen, if not there.
        options: for `restate.app`, such as `identity_keys`.

    Returns:
        The endpoint, which Restate knows.

    Raises:
        TourError: these are no services, the port is taken, or Restate refuses them.
    """
    if not services or not all(isinstance(service, AnyService) for service in services):
        raise TourError(
            'tour.serve(...) takes services, at least one: what restate.Service("…") returns, '
            "not a handler of it."
        )
    port = port or port_of(services[0].name)
    if before := _endpoints.pop(port, None):
        before.stop()
    logging.getLogger("restate").addHandler(logging.NullHandler())
    output.collect()
    endpoint = _endpoints[port] = Endpoint(services, port, **options)
    _register(endpoint)
    resume_backing_off(endpoint.services)
    return endpoint


def thread() -> LoopThread:
    """Return the one thread of all endpoints: a client that the agents share knows one loop."""
    if not _threads:
        _threads.append(LoopThread("endpoint"))
    return _threads[0]


def port_of(service: str) -> int:
    """Return the port of a service, the same ever since it was first asked for in this home.

    It follows from the home and the name, or is the next one that was free then: several learners
    may share a machine. It lies below the range from which systems hand out ports of their own.
    """
    with locked("ports.json") as file:
        file.seek(0)
        ports: dict[str, int] = json.loads(file.read() or "{}")
        if service not in ports:
            ports[service] = next(_unused(service, {*ports.values()}))
            file.truncate(0)
            json.dump(ports, file)
        return ports[service]


def _unused(service: str, used: set[int]) -> Iterator[int]:
    # The home moves all names alike: two that differ in one home differ in every home.
    first = sum(zlib.crc32(text.encode()) for text in (str(home()), service))
    for number in range(first, first + 10_000):
        port = 20_000 + number % 10_000
        if port not in used and is_free(port):
            yield port


def _register(endpoint: Endpoint) -> None:
    # force: without it a changed service at a known address is ignored, with status 200.
    body = {"uri": f"http://{LOOPBACK}:{endpoint.port}", "force": True}
    try:
        server.request("POST", "/deployments", json=body)
    except TourError as error:
        endpoint.stop()
        raise TourError(f"{', '.join(endpoint.services)} not registered. {error}") from None


def resume_backing_off(services: list[str]) -> None:
    """Spare the invocations that wait for a retry the rest of their back-off."""
    names = ", ".join(f"'{name}'" for name in services)
    waiting = f"status = 'backing-off' and target_service_name in ({names})"
    for row in server.query(f"select id from sys_invocation where {waiting}"):
        try:
            server.request("PATCH", f"/invocations/{row['id']}/resume")
        except Refused as refusal:
            if refusal.status != httpx.codes.CONFLICT:  # it may have gone on by itself meanwhile
                raise
