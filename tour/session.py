"""A kernel made ready: a server that is up, a model that is chosen, the environment set."""

import os
import sys
from typing import Any

import httpx

from tour import endpoint, server
from tour.export import note_run
from tour.model import OFFLINE_KEY, OfflineModel, named
from tour.network import client_options, keep_proxies_away, shown

__all__ = ["offline", "start"]

offline = OfflineModel()


def start() -> None:
    """Make this kernel ready, and say what it will use.

    Again does nothing new, but that the stand-in forgets what it was to fail at: a cell that was
    stopped may have left failures behind.

    restate-server is started or, if it runs already, adopted. Without `OPENAI_API_KEY` and
    `OPENAI_BASE_URL` the model is the offline stand-in, and both are set for this kernel: an
    agent's own code is plain `AsyncOpenAI()`.

    Raises:
        TourError: there is no server and none can be started, or the environment names a model
            that no client can reach.
    """
    model = named()
    keep_proxies_away(needed=model is not None and not model.is_here)
    running = server.up()
    offline.reset()
    endpoint.collect()
    _note_what_runs()
    where = f"{shown(running.ingress)}, its UI at {server.ui}"
    taken = " and ".join(map(str, server.taken(running)))
    print(f"Restate {running.version} at {where}", *([f"({taken} taken)"] if taken else []))
    if model is None:
        print(f"Model: {_use_the_stand_in()}")
        return
    # The client insists on a key, also for a server on this machine that wants none.
    os.environ.setdefault("OPENAI_API_KEY", "none")
    at = f"{shown(model.url)} (OPENAI_BASE_URL)" if model.url else "OpenAI (OPENAI_API_KEY)"
    print("Model:", model.model or "the agent's model", f"at {at}.")


def _use_the_stand_in() -> str:
    url = os.environ.get("OPENAI_BASE_URL")
    if not url or not _answers(url):  # what another kernel has left in the environment may be gone
        url = offline.start()
    os.environ |= {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": OFFLINE_KEY}
    return (
        "the offline stand-in (rules, not a language model). Set OPENAI_API_KEY to use a real one."
    )


def _answers(url: str) -> bool:
    try:
        with httpx.Client(timeout=1, **client_options(here=True)) as client:
            return client.get(f"{url}/models").is_success
    except httpx.TransportError:
        return False


def _note_what_runs() -> None:
    """Let `load` and `export` tell an unsaved edit; only JupyterLab says which cell it runs."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is not None and _note not in shell.events.callbacks["post_run_cell"]:
        shell.events.register("post_run_cell", _note)


def _note(result: Any) -> None:
    if cell := getattr(result.info, "cell_id", None):
        note_run(cell, result.info.raw_cell)
