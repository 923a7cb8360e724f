"""Which model the environment names, and whether a client can use what it says."""

import os
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from tour.errors import TourError
from tour.home import setting

__all__ = ["OFFLINE_KEY", "Named", "named"]

OFFLINE_KEY = "offline-stand-in"


@dataclass(frozen=True)
class Named:
    """A real model's server: its address, None for OpenAI's own, and a name if one is set."""

    url: str | None
    model: str | None


def named() -> Named | None:
    """Return the model that the environment names; None if it names none, or the stand-in.

    A variable that is set but empty is taken out of the environment, where a client would see it,
    and blanks around a value go as well.

    Raises:
        TourError: no client could use a variable; it is named.
    """
    for name in [name for name in os.environ if name.startswith("OPENAI_")]:
        if (value := setting(name)) is None:
            del os.environ[name]
        else:
            os.environ[name] = value
    key, url = os.environ.get("OPENAI_API_KEY"), os.environ.get("OPENAI_BASE_URL")
    if key and not re.fullmatch(r"[!#-&(-_a-~]+", key):
        raise TourError(
            "OPENAI_API_KEY holds a blank, a quote or another sign that no key has: set it again, "
            "without what was copied along."
        )
    if url and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
        raise TourError(
            "OPENAI_BASE_URL is no address: one begins with http:// or https://, and most end with "
            "/v1."
        )
    if key == OFFLINE_KEY or not (key or url):
        return None
    return Named(url, os.environ.get("OPENAI_MODEL"))
