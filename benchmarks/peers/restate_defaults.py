"""Restate as its documentation has it: a server with its defaults, an agent that hypercorn serves.

But everything listens on 127.0.0.1 and on free ports. The client is the SDK's own, kept open.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from contextlib import AsyncExitStack
from typing import Any

import httpx
import restate
from hypercorn.asyncio import serve
from hypercorn.config import Config

from peers import work
from peers.contender import Contender, main
from peers.restate_agent import bench, run

HOST = "127.0.0.1"


class RestateDefaults(Contender):
    """A server, the agent's process, and this process as the client."""

    packages = ("restate-sdk", "hypercorn")
    durability = "every step synced to disk by the server"
    watcher = "the server, which calls again"

    async def start(self) -> None:
        """Start server and agent, and register it; after a crash, the agent alone."""
        await self._connect()
        if (self.folder / "server.pid").exists():
            self._serve_agent()
            return
        self._start_server()
        self._serve_agent()
        body = {"uri": f"http://{HOST}:{self._ports[2]}"}
        async with httpx.AsyncClient(base_url=f"http://{HOST}:{self._ports[1]}") as admin:
            while not await _registered(admin, body):
                await asyncio.sleep(0.02)

    async def run(self, job: work.Job) -> Any:
        """Call the agent through the ingress."""
        return await self._client.service_call(run, job)

    async def begin(self, job: work.Job) -> None:
        """Send the job, and note the name of the invocation."""
        handle = await self._client.service_send(run, job)
        (self.folder / "invocation").write_text(handle.invocation_id)

    async def resume(self, job: work.Job) -> Any:
        """Wait for the invocation, which goes on by itself."""
        invocation = (self.folder / "invocation").read_text()
        url = f"http://{HOST}:{self._ports[0]}/restate/invocation/{invocation}/attach"
        async with httpx.AsyncClient(timeout=120) as client:
            return (await client.get(url)).raise_for_status().json()

    async def stop(self) -> None:
        """Stop agent and server."""
        if hasattr(self, "_agent"):
            self._agent.kill()
            self._agent.wait()
            await self._open.aclose()
        pid = self.folder / "server.pid"
        if pid.exists():
            os.kill(int(pid.read_text()), signal.SIGTERM)
            pid.unlink()  # by now, its number may be another's

    async def _connect(self) -> None:
        noted = self.folder / "ports"
        if not noted.exists():
            noted.write_text(" ".join(str(_free_port()) for _ in range(4)))
        self._ports = [int(port) for port in noted.read_text().split()]
        self._open = AsyncExitStack()
        client = restate.create_client(f"http://{HOST}:{self._ports[0]}")
        self._client = await self._open.enter_async_context(client)

    def _start_server(self) -> None:
        settings = {
            "RESTATE_BASE_DIR": str(self.folder / "restate-data"),
            "RESTATE_BIND_IP": HOST,
            "RESTATE_LISTEN_MODE": "tcp",
            "RESTATE_INGRESS__BIND_PORT": str(self._ports[0]),
            "RESTATE_ADMIN__BIND_PORT": str(self._ports[1]),
            "RESTATE_BIND_PORT": str(self._ports[3]),
            "RESTATE_DISABLE_TELEMETRY": "true",
        }
        with (self.folder / "server.log").open("w") as log:
            server = subprocess.Popen(
                [os.environ["RESTATE_SERVER"]],
                env=os.environ | settings,
                stdout=log,
                stderr=log,
                start_new_session=True,  # it outlives the agent
            )
        (self.folder / "server.pid").write_text(str(server.pid))

    def _serve_agent(self) -> None:
        command = [sys.executable, "-m", "peers.restate_defaults", "serve", str(self._ports[2])]
        self._agent = subprocess.Popen(command)


async def _registered(admin: httpx.AsyncClient, body: dict[str, str]) -> bool:
    try:
        return (await admin.post("/deployments", json=body)).is_success
    except httpx.TransportError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def serve_agent(port: str) -> None:
    """Do what the documentation's agents do in their `main`."""
    config = Config()
    config.bind = [f"{HOST}:{port}"]
    config.errorlog = None
    asyncio.run(serve(restate.app([bench]), config))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve_agent(sys.argv[2])
    else:
        main(RestateDefaults)
