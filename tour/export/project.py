"""A notebook's agent as a project that needs nothing of the tour.

It is the agent's module with a `main`, its pinned dependencies and a README.
"""

import shlex
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import restate
from pydantic import BaseModel

from tour.errors import TourError
from tour.export.notebook import cells_of, module_at, module_of, path_of, snippets

PINNED = ("restate-sdk", "openai", "hypercorn", "pydantic")
PINNED_IF_IMPORTED = {"agents": "openai-agents"}
MAIN = Path(__file__).with_name("main.py")
PROJECT = """[project]
name = "{name}"
version = "0.1.0"
description = "{title}"
requires-python = ">=3.11"
dependencies = [
{dependencies}
]

[tool.ruff]
line-length = 100
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
curl http://127.0.0.1:9070/deployments -H "content-type: application/json" \\
    -d '{{"uri": "http://127.0.0.1:9080", "force": true}}'
```

Call it:

```sh
{calls}
```
"""


def export(number: str, folder: Path, also: Path = Path()) -> list[Path]:
    """Write the agent of a notebook as a project into a folder that is empty or not there yet.

    Args:
        number: of the notebook, such as "01".
        folder: where the project goes.
        also: where a working copy may be, if it is not where we are.

    Returns:
        The files that were written.

    Raises:
        TourError: the folder is not empty or cannot be written, or as `source` does.
    """
    path = path_of(number, also)
    services = _services(module_at(path))
    main = MAIN.read_text().partition("\n")[2]
    main = main.replace("restate.app([])", f"restate.app({_listed(list(services))})")
    heading = cells_of(path)[0]["source"].splitlines()[0]
    title = str(heading).lstrip("# ").replace('"', "'")
    code = module_of([*snippets(path), main])
    more = [name for module, name in PINNED_IF_IMPORTED.items() if f"\nimport {module}\n" in code]
    pinned = [f"{name}=={version(name)}" for name in (*PINNED, *more)]
    files = {
        "agent.py": code,
        "pyproject.toml": PROJECT.format(
            name=path.stem.replace("_", "-"),
            title=title,
            dependencies="\n".join(f'    "{pin}",' for pin in pinned),
        ),
        "README.md": README.format(
            title=title,
            requirements=" ".join(pinned),
            calls="\n".join(calls(services.values())),
        ),
    }
    return _write(folder, files)


def _services(module: ModuleType) -> dict[str, Any]:
    """Return the services of a module by the names of their variables."""
    kinds = (restate.Service, restate.VirtualObject, restate.Workflow)
    return {name: value for name, value in vars(module).items() if isinstance(value, kinds)}


def _listed(names: list[str]) -> str:
    """Return a list for `restate.app(…)`, as ruff lays it out: on one line, if it fits on that."""
    line = f"[{', '.join(names)}]"
    if len(f"app = restate.app({line})") <= 100:
        return line
    return "\n    [\n" + "".join(f"        {name},\n" for name in names) + "    ]\n"


def calls(services: Iterable[Any]) -> list[str]:
    """Return one curl line a handler that the ingress takes, with the defaults of its input."""
    return [
        f"curl http://127.0.0.1:8080/{service.name}{_key(service)}/{handler.name} {_body(handler)}"
        for service in services
        for handler in service.handlers.values()
        if not (service.ingress_private or handler.ingress_private)
    ]


def _key(service: Any) -> str:
    return "" if isinstance(service, restate.Service) else "/my-key"


def _body(handler: Any) -> str:
    taken = handler.handler_io.input_type
    if taken is None or taken.is_void:
        return "-X POST"
    is_model = isinstance(taken.annotation, type) and issubclass(taken.annotation, BaseModel)
    example = taken.annotation().model_dump_json() if is_model else '"…"'
    return f"-H 'content-type: application/json' -d {shlex.quote(example)}"


def _write(folder: Path, files: dict[str, str]) -> list[Path]:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise TourError(f"{folder} is not empty. Name a folder that is, or that is not there yet.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_text(content, encoding="utf-8")
    except OSError as error:
        raise TourError(f"Cannot write to {folder}: {error.strerror}.") from error
    return [folder / name for name in files]
