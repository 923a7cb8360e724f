"""A notebook's agent as a module, and as a project that needs nothing of the tour.

The cells tagged `snippet` of a notebook, in order, are one module. A project is that module with
a `main`, its pinned dependencies and a README.
"""

import ast
import re
import shlex
import sys
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import restate
from pydantic import BaseModel

from tour.errors import TourError

__all__ = ["export", "load", "source"]

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
PINNED = ("restate-sdk", "openai", "hypercorn", "pydantic")
MAIN = '''

app = restate.app([{services}])


async def main() -> None:
    """Serve the agent on 127.0.0.1 until SIGTERM or Ctrl-C."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        # The SDK's own hook: it handles SIGTERM itself, and would displace any other handler.
        install_shutdown_hook(loop, stop.set, signum)
    config = Config()
    config.bind = [f"127.0.0.1:{{os.environ.get('PORT', '9080')}}"]
    server = asyncio.create_task(serve(app, config, shutdown_trigger=stop.wait))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({{server, stopping}}, return_when=asyncio.FIRST_COMPLETED)
    finished, _ = await asyncio.wait({{server}}, timeout=1)
    if not finished:
        # Work in flight needs no goodbye: Restate has its journal, and goes on with it wherever
        # this agent is served next.
        os._exit(0)
    server.result()


if __name__ == "__main__":
    asyncio.run(main())
'''
MAIN_IMPORTS = """
import asyncio
import os
import signal

import restate
from hypercorn.asyncio import serve
from hypercorn.config import Config
from restate.server import install_shutdown_hook
"""
PROJECT = """[project]
name = "{name}"
version = "0.1.0"
description = "{title}"
requires-python = ">=3.11"
dependencies = [
{dependencies}
]
"""
README = """# {title}

`agent.py` is a durable agent: it needs a model (`OPENAI_API_KEY`, or `OPENAI_BASE_URL` for any
compatible server, and `OPENAI_MODEL` to choose one) and a Restate server.

Run it, in an environment of its own:

```sh
python3 -m venv .venv && .venv/bin/pip install {requirements} && .venv/bin/python agent.py
```

Register it with the Restate server on this machine:

```sh
curl http://127.0.0.1:9070/deployments --json '{{"uri": "http://127.0.0.1:9080", "force": true}}'
```

Call it:

```sh
{calls}
```
"""


def source(number: str) -> str:
    """Return the agent of a notebook, such as "01", as the source of one module.

    Raises:
        TourError: there is no such notebook, or it has no cell tagged `snippet`.
    """
    notebook = nbformat.read(_notebook(number), as_version=4)
    cells = [
        cell.source
        for cell in notebook.cells
        if cell.cell_type == "code" and "snippet" in cell.metadata.get("tags", [])
    ]
    if not cells:
        raise TourError(f"Notebook {number} has no cell tagged `snippet`.")
    return _imports_first("\n\n\n".join(cells))


def load(number: str) -> ModuleType:
    """Return the agent of a notebook as a module, as the file on disk has it.

    Raises:
        TourError: as `source` does.
    """
    module = ModuleType(f"agent_{number}")
    sys.modules[module.__name__] = module  # Pydantic and inspect look a class's module up there
    exec(compile(source(number), f"<notebook {number}>", "exec"), vars(module))  # noqa: S102
    return module


def export(number: str, folder: Path) -> list[Path]:
    """Write the agent of a notebook as a project into a folder that is empty or not there yet.

    Returns:
        The files that were written.

    Raises:
        TourError: the folder is not empty or cannot be written, or as `source` does.
    """
    services = _services(load(number))
    title = _title(number)
    pinned = [f"{name}=={version(name)}" for name in PINNED]
    module = source(number) + "\n" + MAIN.format(services=", ".join(services))
    files = {
        "agent.py": _imports_first(MAIN_IMPORTS + module),
        "pyproject.toml": PROJECT.format(
            name=_notebook(number).stem.replace("_", "-"),
            title=title,
            dependencies="\n".join(f'    "{pin}",' for pin in pinned),
        ),
        "README.md": README.format(
            title=title,
            requirements=" ".join(pinned),
            calls="\n".join(_calls(services.values())),
        ),
    }
    return _write(folder, files)


def _notebook(number: str) -> Path:
    found = sorted(NOTEBOOKS.glob(f"{number}_*.ipynb"))
    if not found:
        numbers = ", ".join(path.name[:2] for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb")))
        raise TourError(f"There is no notebook {number!r} in {NOTEBOOKS}. There are: {numbers}.")
    return found[0]


def _title(number: str) -> str:
    heading = nbformat.read(_notebook(number), as_version=4).cells[0].source.splitlines()[0]
    return str(heading).lstrip("# ").replace('"', "'")


def _services(module: ModuleType) -> dict[str, Any]:
    """Return the services of a module by the names of their variables."""
    kinds = (restate.Service, restate.VirtualObject, restate.Workflow)
    return {name: value for name, value in vars(module).items() if isinstance(value, kinds)}


def _calls(services: Any) -> list[str]:
    """Return one curl line a handler that the ingress takes, with the defaults of its input."""
    return [
        f"curl http://127.0.0.1:8080/{service.name}{_key(service)}/{handler.name} "
        f"--json {shlex.quote(_example(handler))}"
        for service in services
        for handler in service.handlers.values()
    ]


def _key(service: Any) -> str:
    return "" if isinstance(service, restate.Service) else "/my-key"


def _example(handler: Any) -> str:
    model = handler.handler_io.input_type.annotation
    return model().model_dump_json() if issubclass(model, BaseModel) else '"…"'


def _imports_first(code: str) -> str:
    """Move the imports of a module to its top, each once, in the order of the field."""
    tree = ast.parse(code)
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    lines = code.splitlines()
    for node in imports:
        for number in range(node.lineno - 1, node.end_lineno or node.lineno):
            lines[number] = ""
    statements = {ast.unparse(node) for node in imports}
    known = [
        line for line in statements if line.split()[1].split(".")[0] in sys.stdlib_module_names
    ]
    foreign = sorted(statements - set(known), key=_import_order)
    body = re.sub(r"\n{3,}", "\n\n\n", "\n".join(lines)).strip()
    return "\n".join([*sorted(known, key=_import_order), "", *foreign, "", "", body, ""])


def _import_order(statement: str) -> tuple[bool, str]:
    return statement.startswith("from"), statement


def _write(folder: Path, files: dict[str, str]) -> list[Path]:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise TourError(f"{folder} is not empty. Name a folder that is, or that is not there yet.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_text(content)
    except OSError as error:
        raise TourError(f"Cannot write to {folder}: {error.strerror}.") from error
    return [folder / name for name in files]
