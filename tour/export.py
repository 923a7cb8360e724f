"""A notebook's agent as a module, and as a project that needs nothing of the tour.

The cells tagged `snippet` of a notebook, in order, are one module. A project is that module with
a `main`, its pinned dependencies and a README.
"""

import ast
import json
import re
import shlex
import sys
from collections import defaultdict
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import restate
from pydantic import BaseModel

from tour.errors import TourError

__all__ = ["export", "load", "source"]

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
PINNED = ("restate-sdk", "openai", "hypercorn", "pydantic")
PINNED_IF_IMPORTED = {"agents": "openai-agents"}
MAIN = Path(__file__).with_name("export_main.py")
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


def source(number: str) -> str:
    """Return the agent of a notebook, such as "01", as the source of one module.

    Raises:
        TourError: there is no such notebook, or it has no cell tagged `snippet`.
    """
    return _module(_snippets(number))


def load(number: str) -> ModuleType:
    """Return the agent of a notebook as a module, as the file on disk has it.

    Raises:
        TourError: it needs a package that is not installed, or as `source` does.
    """
    module = ModuleType(f"agent_{number}")
    code = compile(source(number), f"<notebook {number}>", "exec")
    sys.modules[module.__name__] = module  # Pydantic and inspect look a class's module up there
    try:
        exec(code, vars(module))  # noqa: S102
    except ModuleNotFoundError as error:
        raise TourError(f"Notebook {number} needs {error.name}, which is not installed.") from error
    return module


def export(number: str, folder: Path) -> list[Path]:
    """Write the agent of a notebook as a project into a folder that is empty or not there yet.

    Returns:
        The files that were written.

    Raises:
        TourError: the folder is not empty or cannot be written, or as `source` does.
    """
    services = _services(load(number))
    main = MAIN.read_text().partition("\n")[2]
    main = main.replace("restate.app([])", f"restate.app({_listed(list(services))})")
    heading = _read(number)[0]["source"].splitlines()[0]
    title = str(heading).lstrip("# ").replace('"', "'")
    code = _module([*_snippets(number), main])
    more = [name for module, name in PINNED_IF_IMPORTED.items() if f"\nimport {module}\n" in code]
    pinned = [f"{name}=={version(name)}" for name in (*PINNED, *more)]
    files = {
        "agent.py": code,
        "pyproject.toml": PROJECT.format(
            name=_path(number).stem.replace("_", "-"),
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


def _path(number: str) -> Path:
    notebooks = {path.name.split("_")[0]: path for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))}
    if number not in notebooks:
        there = ", ".join(notebooks) or "none"
        raise TourError(f"There is no notebook {number!r} in {NOTEBOOKS}. There are: {there}.")
    return notebooks[number]


def _read(number: str) -> list[dict[str, Any]]:
    """Return the cells of a notebook. Not by nbformat, whose import alone takes over a second."""
    cells = json.loads(_path(number).read_text(encoding="utf-8"))["cells"]
    return [cell | {"source": "".join(cell["source"])} for cell in cells]


def _snippets(number: str) -> list[str]:
    cells = _read(number)
    snippets = [cell["source"] for cell in cells if "snippet" in cell["metadata"].get("tags", [])]
    if not snippets:
        raise TourError(f"Notebook {number} has no cell tagged `snippet`.")
    return snippets


def _module(cells: Iterable[str]) -> str:
    """Join cells to one module: the imports of all of them first, each once, then the rest."""
    plain, named, bodies = set[str](), defaultdict[str, set[str]](set), []
    for cell in cells:
        lines = cell.splitlines()
        for node in reversed(ast.parse(cell).body):
            if isinstance(node, ast.Import | ast.ImportFrom):
                found = {ast.unparse(alias) for alias in node.names}
                (named[node.module or ""] if isinstance(node, ast.ImportFrom) else plain).update(
                    found
                )
                del lines[node.lineno - 1 : node.end_lineno]
        bodies.append("\n".join(lines).strip("\n"))
    imports = [(name, f"import {name}") for name in sorted(plain)]
    for module, names in sorted(named.items()):
        imports.append((module, f"from {module} import {', '.join(sorted(names, key=_rank))}"))
    groups: tuple[list[str], list[str]] = ([], [])
    for module, line in imports:
        groups[module.split(".")[0] not in sys.stdlib_module_names].append(line)
    rest = "\n\n\n".join(filter(None, bodies))
    gap = "\n\n\n" if re.match("(async )?def |class |@", rest) else "\n\n"
    return "\n\n".join("\n".join(group) for group in groups if group) + gap + rest + "\n"


def _rank(name: str) -> tuple[bool, bool, str]:
    """Sort constants first, then classes, then the rest, as ruff does."""
    return not name.isupper(), not name[0].isupper(), name


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


def _calls(services: Iterable[Any]) -> list[str]:
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
