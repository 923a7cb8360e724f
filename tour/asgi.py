"""ASGI apps served on loopback by a thread, each of which can be stopped at any moment."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from contextvars import Context, ContextVar
from typing import Any, cast

from hypercorn.asyncio import serve
from hypercorn.config import Config, Sockets

__all__ = ["LOOPBACK", "App", "AsgiServer", "LoopThread", "free_port", "is_free"]

LOOPBACK = "127.0.0.1"

App = Callable[[Any, Any, Any], Awaitable[None]]  # every library has its own types for this one

GRACE = 0.1  # seconds that a handler has to end by itself once its connection is gone
LAST_WAIT = 1.0  # seconds that stop() waits for a handler that blocks the loop, or never ends

_server: ContextVar[AsgiServer | None] = ContextVar("server", default=None)


class LoopThread:
    """An event loop in a daemon thread, for work that no cell may block and no cell waits for."""

    def __init__(self, name: str) -> None:
        """Start the thread."""
        self.loop = asyncio.new_event_loop()
        self.loop.set_task_factory(_remember_task)
        self.loop.set_exception_handler(lambda _loop, _context: None)  # this thread never prints
        self._thread = threading.Thread(target=self.loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Run a coroutine there, in a context of its own: none of the cell's belongs to it."""
        return Context().run(asyncio.run_coroutine_threadsafe, work, self.loop)

    @property
    def is_here(self) -> bool:
        """Whether the caller runs on this very thread, and so must not wait for it."""
        return self._thread is threading.current_thread()


def _remember_task(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
    """Make a task, and note which server it works for: its own and its children's context say."""
    task = asyncio.Task(work, loop=loop, **options)
    if server := _server.get():
        server.tasks.add(task)
    return task


class AsgiServer:
    """Serves one ASGI app on 127.0.0.1, over HTTP/1.1 and HTTP/2.

    Several servers may share a thread, and with it what belongs to an event loop: the clients of
    the handlers that they serve.

    Attributes:
        port: the port it listens on.
        tasks: what runs for it.
    """

    def __init__(self, app: App, thread: LoopThread, port: int = 0) -> None:
        """Listen on the port (0: any free one) and start serving; OSError if it is taken."""
        self.tasks: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
        self._requests: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
        self._app = app
        self._loop_thread = thread
        self._listener = _Listener(port)
        self.port: int = self._listener.getsockname()[1]
        self._stopping = asyncio.Event()
        self._running = thread.submit(self._serve())

    @property
    def alive(self) -> bool:
        """Whether it still answers."""
        return not self._running.done() and not self._listener.severed

    def stop(self) -> bool:
        """Cut every connection at once, give up the requests in flight, and free the port.

        Returns:
            Whether all of its work has ended; not so if a handler blocks the thread.
        """
        self._listener.sever()
        self._loop_thread.loop.call_soon_threadsafe(self._stopping.set)
        if self._loop_thread.is_here:  # called by one of its handlers, which cannot wait for itself
            return True
        with suppress(TimeoutError):
            self._running.exception(LAST_WAIT)
        self._listener.close()  # closed already, unless a handler still blocks the thread
        return self._running.done()

    async def _serve(self) -> None:
        config = _Config()
        config.listener = self._listener
        config.errorlog = None
        config.keep_alive_timeout = 60.0  # longer than clients keep idle connections
        # At its limit, 1000 by default, an HTTP/2 connection cuts all requests in flight on it.
        config.keep_alive_max_requests = sys.maxsize
        _server.set(self)
        stopping = self._stopping.wait
        server = asyncio.create_task(
            serve(self._dispatch, config, shutdown_trigger=stopping, mode="asgi")
        )
        await stopping()
        await asyncio.wait({server}, timeout=GRACE)
        # The requests first: their connection wants to take leave of them.
        await self._cancel(self._requests)
        # Without end, because a handler may swallow a cancellation; stop() does not wait for it.
        while await self._cancel(self.tasks):
            pass

    async def _cancel(self, tasks: weakref.WeakSet[asyncio.Task[Any]]) -> bool:
        """Cancel what is not done, and give it a moment to end; return whether there was any."""
        rest = {task for task in tasks if not task.done()}
        for task in rest:
            task.cancel()
        if rest:
            await asyncio.wait(rest, timeout=GRACE)
        return bool(rest)

    async def _dispatch(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            self._requests.add(cast(asyncio.Task[Any], asyncio.current_task()))
            return await self._app(scope, receive, send)
        for phase in ("startup", "shutdown"):  # answered here: not every app knows this protocol
            await receive()
            await send({"type": f"lifespan.{phase}.complete"})
        return None


class _Listener(socket.socket):
    """A listening socket that knows the connections it has accepted, to cut them all at once."""

    def __init__(self, port: int) -> None:
        # TCP by name: else asyncio leaves Nagle's algorithm on, at 40 ms a call.
        super().__init__(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self.severed = False
        self._lock = threading.Lock()
        self._accepted: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        try:
            self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.bind((LOOPBACK, port))
            self.listen()
        except BaseException:
            self.close()
            raise

    def accept(self) -> tuple[socket.socket, Any]:
        connection, peer = super().accept()
        with self._lock:
            if not self.severed:
                self._accepted.add(connection)
                return connection, peer
        connection.close()
        raise ConnectionAbortedError

    def sever(self) -> None:
        # On the sockets themselves: this works while a handler blocks the loop, too.
        with self._lock:
            self.severed = True
            for connection in self._accepted:
                with suppress(OSError):  # closed by the other side
                    connection.shutdown(socket.SHUT_RDWR)


class _Config(Config):
    """Hypercorn's settings, with a socket that is listening already."""

    listener: socket.socket

    def create_sockets(self) -> Sockets:
        return Sockets([], [self.listener], [])


def is_free(port: int) -> bool:
    """Tell whether nobody listens on a port of this machine."""
    with socket.socket() as probe:
        if probe.connect_ex((LOOPBACK, port)) == 0:
            return False
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
