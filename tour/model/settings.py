"""Which model the environment names, and whether a client can use what it says."""

import os
import re
from dataclasses import dataclass

from tour.errors import TourError
from tour.home import setting
from tour.network import is_address, is_here

__all__ = ["OFFLINE_KEY", "Named", "named"]

OFFLINE_KEY = "offline-stand-in"
SENT = ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID")  # in the headers of requests


@dataclass(frozen=True)
class Named:
    """A real model's server: its address, None for OpenAI's own, and a name if one is set."""

    url: str | None
    model: str | None

    @property
    def is_here(self) -> bool:
        """Whether it runs on this machine."""
        return self.url is not None and is_here(self.url)


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
    for name in SENT:
        if not re.fullmatch(r"[!#-&(-_a-~]*", os.environ.get(name, "")):
            raise TourError(
                f"{name} holds a blank, a quote or another character that no key has: set it "
                "again, without what was copied along."
            )
    key, url = os.environ.get("OPENAI_API_KEY"), os.environ.get("OPENAI_BASE_URL")
    if url and not is_address(url):
        raise TourError(
            "OPENAI_BASE_URL is not an address: it must begin with http:// or https://, and most "
            "end with /v1."
        )
    if key == OFFLINE_KEY or not (key or url):
        return None
    return Named(url, os.environ.get("OPENAI_MODEL"))
