"""A kernel made ready: a server that is up, a model that is chosen, the environment set."""

import os

import httpx

from tour import hub, output, server
from tour.offline_model import OfflineModel
from tour.process import LOOPBACK, direct, shown

__all__ = ["offline", "start"]

OFFLINE_KEY = "offline-stand-in"

offline = OfflineModel()


def start() -> None:
    """Make this kernel ready, and say what it will use.

    Again does nothing new, but that the stand-in forgets what it was to fail at: a cell that was
    stopped may have left failures behind.

    restate-server is started or, if it runs already, adopted. Without `OPENAI_API_KEY` and
    `OPENAI_BASE_URL` the model is the offline stand-in, and both are set for this kernel: an
    agent's own code is plain `AsyncOpenAI()`.

    Raises:
        TourError: there is no server and none can be started.
    """
    _keep_proxies_away()
    running = server.up()
    offline.reset()
    output.collect()
    where = f"{shown(running.ingress)}, its UI at {hub.address(running)}{_moved(running)}"
    print(f"Restate {running.version} at {where}")
    print(f"Model: {_choose_model()}")


def _moved(running: server.Server) -> str:
    """Say so if the server is not where Restate's documentation has it."""
    pairs = zip(server.DEFAULT_PORTS, running.ports, strict=True)
    taken = [str(usual) for usual, port in pairs if running.pid and port != usual]
    return f" ({' and '.join(taken)} taken)" if taken else ""


def _choose_model() -> str:
    key, url = os.environ.get("OPENAI_API_KEY"), os.environ.get("OPENAI_BASE_URL")
    if url and key != OFFLINE_KEY:
        # The client insists on a key, also for a server on this machine that wants none.
        os.environ.setdefault("OPENAI_API_KEY", "none")
        return f"{_named_model()} at {shown(url)} (OPENAI_BASE_URL)."
    if key and key != OFFLINE_KEY:
        return f"{_named_model()} at OpenAI (OPENAI_API_KEY)."
    if not url or not _answers(url):  # what another kernel has left in the environment may be gone
        url = offline.start()
    os.environ |= {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": OFFLINE_KEY}
    return (
        "the offline stand-in (rules, not a language model). Set OPENAI_API_KEY to use a real one."
    )


def _answers(url: str) -> bool:
    try:
        with httpx.Client(timeout=1, **direct()) as client:
            return client.get(f"{url}/models").is_success
    except httpx.TransportError:
        return False


def _named_model() -> str:
    return os.environ.get("OPENAI_MODEL", "the agent's model")


def _keep_proxies_away() -> None:
    """Reach this machine directly, also where the environment names a proxy for the rest."""
    for name in ("NO_PROXY", "no_proxy"):
        hosts = {host for host in os.environ.get(name, "").split(",") if host}
        os.environ[name] = ",".join(sorted(hosts | {LOOPBACK, "localhost"}))
