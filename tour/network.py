"""Addresses, and how a client reaches them: this machine directly, others as is set for them."""

import os
import re
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from tour.asgi import LOOPBACK
from tour.errors import TourError

__all__ = ["client_options", "is_address", "is_here", "keep_proxies_away", "shown"]

HERE = (LOOPBACK, "localhost", "::1")


def shown(url: str) -> str:
    """Return an address as it may be shown to others: without a name and a password in it."""
    return re.sub("(?<=//)[^/]*@", "", url)


def is_here(url: str) -> bool:
    """Tell whether an address is this machine's own."""
    return urlsplit(url).hostname in HERE


def is_address(url: str) -> bool:
    """Tell whether a client takes this for the address of an HTTP server."""
    with suppress(ValueError):
        parts = urlsplit(url)
        named = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        return bool(named) and re.search(r"\s", url) is None
    return False


def client_options(here: bool) -> dict[str, Any]:
    """Return what an HTTP client of ours is made with, for this machine or for another one.

    To this machine there is no proxy and no certificate, whatever the environment says of them.

    Raises:
        TourError: no client can reach another machine with what the environment says.
    """
    if here:
        return {"trust_env": False, "verify": BARE}
    if found := _in_the_way():
        reason = next(iter(found.values()))
        names = [name for name, each in found.items() if each == reason]
        raise TourError(f"{' and '.join(names)} {reason}.")
    return {}


def keep_proxies_away(*, needed: bool) -> None:
    """Let clients reach this machine directly, also where a proxy is named for the rest.

    Clients refuse to be made with a proxy or a file that they cannot use. Such a variable goes,
    for this process and for what it starts, unless a client needs the way to another machine.

    Raises:
        TourError: one does, and a variable is in its way.
    """
    if needed:
        client_options(here=False)
    elif found := _in_the_way():
        print(f"Not used here, because no HTTP client can use it: {', '.join(found)}.")
        for name in found:
            del os.environ[name]
    listed = os.environ.get("no_proxy") or os.environ.get("NO_PROXY", "")  # as clients do
    hosts = {host.strip() for host in listed.split(",")} - {""}
    os.environ |= dict.fromkeys(("NO_PROXY", "no_proxy"), ",".join(sorted({*hosts, *HERE})))


def _in_the_way() -> dict[str, str]:
    """Return each variable that keeps a client from another machine, and what is wrong with it."""
    told = {name: value for name, value in os.environ.items() if value and name.upper() in CHECKS}
    if "SSL_CERT_FILE" in told:
        told.pop("SSL_CERT_DIR", None)  # as clients do
    found = {}
    for name, value in sorted(told.items()):
        check, reason = CHECKS[name.upper()]
        try:
            check(value)
        except Exception:  # whatever is wrong with a proxy or a file has a type of its own
            found[name] = reason
    if not found:
        try:
            httpx.Client(verify=BARE).close()
        except Exception:
            found = {name: HOSTS for name in os.environ if name.upper() == "NO_PROXY"}
    return found


def _proxy(value: str) -> None:
    url = value if "://" in value else f"http://{value}"
    httpx.Client(proxy=url, trust_env=False, verify=BARE).close()


def _certificates(value: str) -> None:
    found = [path.name for each in value.split(os.pathsep) for path in Path(each).glob("*")]
    if not any(re.fullmatch(r"[0-9a-fA-F]{8}\.\d+", name) for name in found):
        raise FileNotFoundError(value)


BARE = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
PROXY = "names a proxy that no HTTP client here can use: set it to one like http://host:3128"
HOSTS = "lists a host that no HTTP client can read: hosts are names, with commas between"
CHECKS: dict[str, tuple[Callable[[str], object], str]] = {
    **dict.fromkeys(("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY"), (_proxy, PROXY)),
    "SSL_CERT_FILE": (
        lambda value: ssl.create_default_context(cafile=value),
        "names no file of certificates: correct it, or unset it",
    ),
    "SSL_CERT_DIR": (_certificates, "names no folder of certificates: correct it, or unset it"),
    "SSLKEYLOGFILE": (
        lambda value: Path(value).open("ab").close(),
        "names a file that cannot be written: correct it, or unset it",
    ),
}
