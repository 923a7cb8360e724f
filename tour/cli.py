"""The `tour` command."""

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib.metadata import PackageNotFoundError, version
from io import TextIOWrapper
from pathlib import Path

from tour import server
from tour.errors import TourError
from tour.home import home, locked, setting
from tour.model import OfflineModel, named
from tour.network import client_options, shown
from tour.server import cluster

__all__ = ["main"]


def main() -> None:
    """Run one command; exit with 1 and one clear sentence when it cannot do its work."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # not every terminal has every sign
    arguments, rest = _parser().parse_known_args()
    if rest and arguments.command != "lab":
        _parser().error(f"unrecognized arguments: {' '.join(rest)}")
    arguments.rest = rest
    try:
        sys.exit(arguments.run(arguments))
    except TourError as error:
        sys.exit(f"tour {arguments.command}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tour", description="A tour of durable AI agents.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    def add(name: str, run: Callable[..., int | None], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        return command

    add("doctor", _doctor, "check everything that the tour needs, and say what is missing")
    up = add("up", _up, "start restate-server, or find the one that runs")
    up.add_argument("--nodes", type=int, help="a cluster beside it, of so many servers (3)")
    add("down", _down, "stop the restate-servers that the tour started")
    add("status", _status, "say what runs")
    add("install", _install, "install restate-server, and start nothing")
    lab = add("lab", _lab, "open the course in JupyterLab, on a working copy of the notebooks")
    lab.usage = "tour lab [folder] [--fresh NN ...] [options of JupyterLab]"
    lab.epilog = "folder: where the working copy is; my-notebooks, unless you name another"
    help_ = "set these notebooks back; yours stay beside them"
    lab.add_argument("--fresh", metavar="NN", nargs="+", action="extend", help=help_)
    model = add("model", _model, "serve the offline model alone, for any OpenAI client")
    model.add_argument("--port", type=int, default=8090, help="where on 127.0.0.1 (8090)")
    export = add("export", _export, "write a notebook's agent as a project of its own")
    export.add_argument("notebook", help='its number, such as "01"')
    export.add_argument("folder", type=Path, help="an empty folder, or one that is not there yet")
    return parser


def _addresses(running: server.Server) -> str:
    return f"{shown(running.ingress)}, its UI at {shown(running.admin)}"


def _up(arguments: argparse.Namespace) -> None:
    if arguments.nodes is None:
        running = server.up()
        print(f"Restate {running.version} at {_addresses(running)}")
        return
    for name, node in cluster.up(arguments.nodes).items():
        print(f"{name}: Restate {node.version} at {_addresses(node)}")


def _down(_: argparse.Namespace) -> None:
    one, nodes = server.down(), cluster.down()
    if one or not nodes:
        print("Stopped restate-server." if one else "No restate-server of the tour runs.")
    if nodes:
        print(f"Stopped the cluster, which had {nodes} nodes.")


def _status(_: argparse.Namespace) -> int:
    running, nodes = _running(), cluster.nodes()
    if running:
        print(f"Restate at {_addresses(running)}, process {running.pid or '?'}")
    for name, node in nodes.items():
        print(f"{name}: Restate at {_addresses(node)}, process {node.pid}")
    if 0 < len(nodes) < cluster.NODES:
        print(f"{len(nodes)} of {cluster.NODES} nodes run; `tour up --nodes 3` starts the others.")
    if running or nodes:
        return 0
    print("No restate-server of the tour runs; `tour up` starts one.")
    return 1


def _lab(arguments: argparse.Namespace) -> int:
    from tour import lab  # noqa: PLC0415  Jupyter takes a second to import

    rest = arguments.rest
    folder = Path(rest.pop(0)) if rest and not rest[0].startswith("-") else None
    return lab.run(rest, folder, arguments.fresh)


def _install(_: argparse.Namespace) -> None:
    if not (setting("RESTATE_SERVER") or setting("RESTATE_INGRESS_URL")):
        server.install()


def _model(arguments: argparse.Namespace) -> None:
    ends = {signal.SIGINT, signal.SIGTERM}
    # Before the model's thread starts and takes this over: a signal that one thread does not block
    # is delivered there, and ends the process before sigwait has seen it.
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    try:
        url = OfflineModel().start(arguments.port)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise TourError(f"port {arguments.port}: {reason}. Name another with --port.") from error
    print(f"The offline stand-in answers at OPENAI_BASE_URL={url} (Ctrl-C ends it)", flush=True)
    signal.sigwait(ends)


def _export(arguments: argparse.Namespace) -> None:
    os.environ.setdefault("OPENAI_API_KEY", "none")  # the client wants one to be made at all
    from tour.export import export  # noqa: PLC0415  it imports what the agents import

    with redirect_stdout(sys.stderr):  # what it says of the notebook; the files alone go to stdout
        paths = export(arguments.notebook, arguments.folder, Path("my-notebooks"))
    print(*paths, sep="\n")


def _doctor(_: argparse.Namespace) -> int:
    problems = 0
    for examine in (_packages, _home, _binary, _server_answers, _model_named):
        try:
            print(f"ok       {examine()}")
        except TourError as error:
            print(f"problem  {error}")
            problems += 1
    return min(problems, 1)


def _packages() -> str:
    names = ("restate-sdk", "openai", "jupyterlab", "ipykernel", "hypercorn")
    try:
        found = ", ".join(f"{name} {version(name)}" for name in names)
    except PackageNotFoundError as error:
        raise TourError(f"{error.name} is not installed: `make lab` installs it.") from error
    return f"Python {sys.version.split()[0]} with {found}"


def _home() -> str:
    with locked("doctor.lock"):
        return f"{home()}, {shutil.disk_usage(home()).free / 1e9:.0f} GB free"


def _binary() -> str:
    if not (setting("RESTATE_SERVER") or server.binary() or shutil.which("restate-server")):
        server.check_place()
        raise TourError("restate-server is not installed: `make lab` or tour.start() installs it.")
    return f"restate-server {server.version_of(server.find())} at {server.find()}"


def _running() -> server.Server | None:
    """Return the server that is up; one that the environment names is asked whether it is."""
    running = server.running()
    return server.up() if running and running.pid is None else running


def _server_answers() -> str:
    running = _running()
    return (
        f"Restate at {_addresses(running)}" if running else "no server runs; `tour up` starts one"
    )


def _model_named() -> str:
    model = named()
    if model is None:
        return "the model: the offline stand-in"
    if not model.is_here:
        client_options(here=False)
    return f"the model: {shown(model.url or 'OpenAI')}"


if __name__ == "__main__":
    main()
