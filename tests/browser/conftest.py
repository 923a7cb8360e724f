"""A browser that the machine has, a lab as `make lab` makes it, and pictures for the README."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.made_lab import MadeLab, made_lab
from tests.helpers import ROOT

USER = "/user/me/"
PROXY = ROOT / ".venv" / "hub"  # what binder.lock adds to the lab's packages
NAMES = ["google-chrome", "google-chrome-stable", "chromium", "chromium-browser"]
ON_MACOS = [
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
]
NONE = (
    "There is no Chromium or Chrome here. On Debian: apt install chromium; on Ubuntu: "
    "snap install chromium; on macOS: brew install --cask google-chrome. If you have one "
    "elsewhere, name it: make browser CHROMIUM=/path/to/chromium"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the README's pictures be made anew."""
    parser.addoption(
        "--write-pictures", action="store_true", help="write the README's pictures into docs/"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Say at once, and once, that there is no browser."""
    if not chromium():
        raise pytest.UsageError(NONE)


def chromium() -> str | None:
    """Return the path of the browser that was named, or else of one that is installed."""
    if named := os.environ.get("CHROMIUM"):
        return shutil.which(named)
    return next(filter(None, map(shutil.which, [*NAMES, *ON_MACOS])), None)


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """Take the machine's browser; it needs no graphics card and talks to no one of its own."""
    quiet = ["--disable-gpu", "--disable-quic", "--disable-sync"]
    return browser_type_launch_args | {"executable_path": chromium(), "args": quiet}


@pytest.fixture(scope="session")
def browser_context_args(browser_context_args: dict[str, Any]) -> dict[str, Any]:
    """Look at it as on a laptop."""
    return browser_context_args | {"viewport": {"width": 1280, "height": 900}}


@pytest.fixture(scope="session")
def shared_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MadeLab]:
    """One lab for all notebooks, as a learner has it."""
    with made_lab(tmp_path_factory.mktemp("lab")) as running:
        yield running


@pytest.fixture
def own_lab(tmp_path: Path) -> Iterator[MadeLab]:
    """A lab that nobody has used."""
    with made_lab(tmp_path / "lab") as running:
        yield running


@pytest.fixture
def lab_in_a_hub(tmp_path: Path) -> Iterator[MadeLab]:
    """A lab as a hub has it: its paths below a user's, and jupyter-server-proxy beside it."""
    environment = {
        "JUPYTERHUB_SERVICE_PREFIX": USER,
        "PYTHONPATH": str(PROXY),
        "JUPYTER_PATH": str(PROXY / "share" / "jupyter"),
    }
    # The lab takes no settings from elsewhere, so the proxy's own file is not read.
    on = "--ServerApp.jpserver_extensions=jupyter_server_proxy=True"
    with made_lab(tmp_path / "lab", f"--ServerApp.base_url={USER}", on, **environment) as running:
        yield running
