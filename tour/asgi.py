"""An ASGI app served on loopback by a thread of its own, which can be stopped at any moment."""

from __future__ import annotations

import asyncio
import socket
import threading
import weakref
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from hypercorn.asyncio import serve
from hypercorn.config import Config, Sockets
from starlette.types import Receive, Scope, Send

__all__ = ["App", "AsgiThread"]

App = Callable[[Any, Any, Any], Awaitable[None]]  # every library has its own types for this one

GRACE = 0.1  # seconds that a handler has to end by itself once its connection is gone
LAST_WAIT = 1.0  # seconds that stop() waits for a handler that blocks the loop, or never ends


class AsgiThread:
    """Serves one ASGI app on 127.0.0.1, over HTTP/1.1 and HTTP/2, from a daemon thread.

    The thread has its own event loop, so that code which blocks the caller's thread or loop
    (a notebook's, say) never keeps it from answering.

    Attributes:
        app: the app that serves the next request; assign another to swap it.
        port: the port it listens on.
    """

    def __init__(self, app: App, port: int = 0) -> None:
        """Listen on the port (0: any free one) and start serving; OSError if it is taken."""
        self.app = app
        self._listener = _Listener(port)
        self.port: int = self._listener.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=f"asgi-{self.port}", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it still answers."""
        return self._thread.is_alive() and not self._listener.severed

    def stop(self) -> None:
        """Cut every connection at once, give up the requests in flight, and free the port."""
        self._listener.sever()
        with suppress(RuntimeError):  # the loop has ended already
            self._loop.call_soon_threadsafe(self._stopping.set)
        if self._thread is not threading.current_thread():  # a handler cannot wait for itself
            self._thread.join(LAST_WAIT)
        self._listener.close()  # closed already, unless a handler still blocks the loop

    def _run(self) -> None:
        # Not asyncio.run: it would wait for the worker threads that handlers have started.
        self._loop.set_exception_handler(lambda _loop, _context: None)  # this thread never prints
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._listener.close()
            self._loop.close()

    async def _serve(self) -> None:
        config = _Config()
        config.listener = self._listener
        config.errorlog = None
        config.keep_alive_timeout = 60.0  # longer than clients keep idle connections
        app: App = self._dispatch
        stopping = self._stopping.wait
        server = asyncio.create_task(serve(app, config, shutdown_trigger=stopping, mode="asgi"))
        await stopping()
        await asyncio.wait({server}, timeout=GRACE)
        # Without end, because a handler may swallow a cancellation; stop() does not wait for it.
        while rest := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in rest:
                task.cancel()
            await asyncio.wait(rest, timeout=GRACE)

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            return await self.app(scope, receive, send)
        for phase in ("startup", "shutdown"):  # answered here: not every app knows this protocol
            await receive()
            await send({"type": f"lifespan.{phase}.complete"})
        return None


class _Listener(socket.socket):
    """A listening socket that knows the connections it has accepted, to cut them all at once."""

    def __init__(self, port: int) -> None:
        # The protocol is named, because asyncio switches Nagle's algorithm off only where it is:
        # with it, every small write waits 40 ms for the other side.
        super().__init__(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self.severed = False
        self._lock = threading.Lock()
        self._accepted: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        try:
            self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.bind(("127.0.0.1", port))
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
