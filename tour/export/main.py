"""The end of every exported agent: this file without this line, with the agent's services."""

import asyncio
import os
import signal
import sys

import restate
from hypercorn.asyncio import serve
from hypercorn.config import Config
from restate.server import install_shutdown_hook

app = restate.app([])


async def main() -> None:
    """Serve the agent on 127.0.0.1 until SIGTERM or Ctrl-C."""
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        # The SDK's own hook: it handles SIGTERM itself, and would displace any other handler.
        install_shutdown_hook(asyncio.get_running_loop(), stop.set, signum)
    config = Config()
    config.bind = [f"127.0.0.1:{os.environ.get('PORT', '9080')}"]
    # At its limit, 1000 by default, an HTTP/2 connection cuts all requests in flight on it.
    config.keep_alive_max_requests = sys.maxsize
    server = asyncio.create_task(serve(app, config, shutdown_trigger=stop.wait))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({server, stopping}, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.wait({server}, timeout=1)
    if stop.is_set():
        # Work in flight needs no goodbye, and may be in a thread that nobody can end. Restate has
        # its journal, and goes on with it wherever this agent is served next.
        sys.stdout.flush()
        os._exit(0)
    if isinstance(error := server.exception(), OSError):
        sys.exit(f"Cannot serve on {config.bind[0]}: {error}")
    server.result()


if __name__ == "__main__":
    asyncio.run(main())
