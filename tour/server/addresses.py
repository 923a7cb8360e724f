"""Where servers are found, and how a client of ours reaches them."""

import os
import re
import ssl
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import httpx

from tour.asgi import LOOPBACK
from tour.errors import TourError

UI_BELOW = "JUPYTERHUB_SERVICE_PREFIX"  # a hub sets it for the lab, and kernels inherit it


def shown(url: str) -> str:
    """Return an address as it may be shown to others: without a name and a password in it."""
    return re.sub("(?<=//)[^/]*@", "", url)


def is_here(url: str) -> bool:
    """Tell whether an address is this machine's own."""
    return urlsplit(url).hostname in (LOOPBACK, "localhost", "::1")


def ui_of(admin: str) -> str:
    """Return where the learner's browser finds the UI: in a hub, this machine's is below it."""
    return ui_place() if is_here(admin) and UI_BELOW in os.environ else shown(admin)


def ui_place() -> str:
    """Return the path of the UI in a hub."""
    return f"{os.environ.get(UI_BELOW, '/')}restate"


@cache
def client_options(here: bool) -> dict[str, Any]:
    """Return what an HTTP client of ours is made with, for this machine or for another one.

    To this machine there is no proxy and no certificate, whatever the environment says of them.

    Raises:
        TourError: no client can be made of what the environment says.
    """
    if here:
        return {"trust_env": False, "verify": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)}
    try:
        options: dict[str, Any] = {"verify": httpx.create_ssl_context()}
        httpx.Client(**options).close()
    except Exception as error:  # whatever is wrong with a proxy or a file has a type of its own
        raise TourError(
            "No client can be made with what the environment says of proxies and certificates "
            f"({error}). Look at HTTPS_PROXY, ALL_PROXY, SSL_CERT_FILE and their like."
        ) from error
    return options
