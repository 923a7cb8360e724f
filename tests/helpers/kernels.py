"""A real kernel, driven cell by cell, as JupyterLab drives it."""

import asyncio
import os
import signal
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any

from jupyter_client.manager import start_new_kernel
from jupyter_core.utils import ensure_event_loop

from tests.helpers import ROOT

__all__ = ["Cell", "Kernel"]


@dataclass
class Cell:
    """What a cell showed, in order, and apart."""

    stdout: str = ""
    stderr: str = ""
    result: str = ""
    error: str = ""
    order: list[str] = field(default_factory=list)

    def add(self, message: dict[str, Any]) -> None:
        """Take up one message of the kernel."""
        content = message["content"]
        match message["msg_type"]:
            case "stream":
                setattr(self, content["name"], getattr(self, content["name"]) + content["text"])
                self.order.append(content["name"])
            case "execute_result":
                self.result = content["data"]["text/plain"]
                self.order.append("result")
            case "error":
                self.error = "\n".join(content["traceback"])


class Kernel:
    """A kernel in the repository's folder; a context manager that ends it."""

    def __init__(self, **environment: str) -> None:
        """Start it, with more in its environment than the tests have."""
        self._context = copy_context()  # Jupyter's client keeps its event loop in there
        try:
            self._start(environment)
        except RuntimeError:
            # Between Jupyter's choice of a port and the kernel's start, somebody may take it.
            self._close_loop()
            self._start(environment)

    def _start(self, environment: dict[str, str]) -> None:
        self.manager, self._client = self._context.run(
            start_new_kernel,
            cwd=str(ROOT),
            env=os.environ | environment,
            extra_arguments=["--log-level=ERROR"],
        )

    def __enter__(self) -> "Kernel":
        """Return it."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it, whatever it does."""
        self._context.run(self._client.stop_channels)
        self._context.run(self.manager.shutdown_kernel, now=True)
        self._close_loop()

    def _close_loop(self) -> None:
        self._context.run(ensure_event_loop).close()
        asyncio.set_event_loop(None)

    def run(self, code: str, timeout: float = 30) -> Cell:
        """Run a cell to its end and return what it showed, an error or not."""
        cell = Cell()
        self._context.run(
            self._client.execute_interactive, code, timeout=timeout, output_hook=cell.add
        )
        return cell

    def good(self, code: str, timeout: float = 30) -> Cell:
        """Run a cell that must not fail."""
        cell = self.run(code, timeout)
        assert not cell.error, cell.error
        return cell

    def run_all(self, cells: list[str], timeout: float = 60) -> list[Cell]:
        """Do what Run All does: queue every cell at once; return what each showed."""
        return self._context.run(self._run_all, cells, timeout)

    def _run_all(self, cells: list[str], timeout: float) -> list[Cell]:
        shown = {self._client.execute(code): Cell() for code in cells}
        running = set(shown)
        while running:
            message = self._client.get_iopub_msg(timeout=timeout)
            asked = message["parent_header"].get("msg_id")
            if asked in shown:
                shown[asked].add(message)
            if message["content"].get("execution_state") == "idle":
                running.discard(asked)
        return list(shown.values())

    def begin(self, code: str) -> None:
        """Send a cell, and do not wait for it."""
        self._context.run(self._client.execute, code)

    def interrupt(self) -> None:
        """Do what the Stop button does."""
        self._context.run(self.manager.interrupt_kernel)

    def die(self) -> None:
        """SIGKILL the kernel, and leave its children to themselves."""
        provisioner: Any = self.manager.provisioner
        os.kill(provisioner.pid, signal.SIGKILL)
        self.__exit__()

    def restart(self) -> None:
        """Do what Kernel, Restart does."""
        self._context.run(self.manager.restart_kernel, now=True)
        self._context.run(self._client.wait_for_ready, timeout=30)
