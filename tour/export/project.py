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
    about: dict[str, Any] = {
        "name": path.stem.replace("_", "-"),
        "title": cells_of(path)[0]["source"].splitlines()[0].lstrip("# ").replace('"', "'"),
        "services": list(services),
        "calls": calls(services.values()),
    }
    code = module_of([*snippets(path), _rendered("main.py", about)])
    more = [name for module, name in PINNED_IF_IMPORTED.items() if f"\nimport {module}\n" in code]
    about["pinned"] = [f"{name}=={version(name)}" for name in (*PINNED, *more)]
    more_files = {name: _rendered(name, about) for name in ("pyproject.toml", "README.md")}
    return _write(folder, {"agent.py": code} | more_files)


def _rendered(name: str, about: dict[str, Any]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415  in no kernel

    options: dict[str, Any] = {"keep_trailing_newline": True, "trim_blocks": True}
    # Not escaped: it is code and prose, no page.
    templates = Environment(  # noqa: S701
        loader=PackageLoader("tour.export"), undefined=StrictUndefined, **options
    )
    text: str = templates.get_template(f"{name}.jinja").render(about)
    return text


def _services(module: ModuleType) -> dict[str, Any]:
    """Return the services of a module by the names of their variables."""
    kinds = (restate.Service, restate.VirtualObject, restate.Workflow)
    return {name: value for name, value in vars(module).items() if isinstance(value, kinds)}


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
