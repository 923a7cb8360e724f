"""The lab opens on its own folder, with its own kernels, whatever is set for other labs."""

import asyncio
import os
import pty
import re
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from tests.helpers import ROOT
from tests.helpers.environments import Opened, environment, lab
from tests.helpers.labs import run_in
from tour.asgi import free_port
from tour.lab import FIRST

pytestmark = pytest.mark.timeout(120)

EDITOR = "https://name-8888.app.github.dev"
SETTINGS = """
c.ServerApp.root_dir = "/no/such"
c.ServerApp.base_url = "/elsewhere/"
c.ServerApp.port = 1
c.IdentityProvider.token = "theirs"
c.PasswordIdentityProvider.hashed_password = "argon2:theirs"
c.ServerApp.jpserver_extensions = {"no_such_extension": True}
c.ServerApp.allow_origin = "https://theirs"
"""
KERNEL = '{"argv": ["/no/such/python"], "display_name": "Theirs", "language": "python"}'


def settings(folder: Path) -> dict[str, Any]:
    """Write what a user may have set for Jupyter and IPython; return the variables."""
    user, variables = folder / "user", {}
    for name in ("config", "data"):
        (user / name / "kernels" / "python3").mkdir(parents=True)
        (user / name / "kernels" / "python3" / "kernel.json").write_text(KERNEL)
        (user / name / "jupyter_server_config.py").write_text(SETTINGS)
        variables[f"JUPYTER_{name.upper()}_DIR"] = str(user / name)
    (user / "ipython" / "profile_default" / "startup").mkdir(parents=True)
    (user / "ipython" / "profile_default" / "startup" / "00.py").write_text("raise SystemExit(3)")
    return variables | {
        "IPYTHONDIR": str(user / "ipython"),
        "JUPYTER_CONFIG_PATH": str(user / "config"),
        "JUPYTER_PATH": str(user / "data"),
        "JUPYTER_PREFER_ENV_PATH": "0",
        "JUPYTER_NO_CONFIG": "1",
        "JUPYTER_PORT": "none",
        "JUPYTER_TOKEN": "",
        "JUPYTER_TOKEN_FILE": "/no/such",
        "JUPYTER_PLATFORM_DIRS": "1",
        "JUPYTERLAB_DIR": "/no/such",
        "JUPYTERLAB_SETTINGS_DIR": "/dev/null/x",
        "JUPYTERLAB_WORKSPACES_DIR": "/dev/null/x",
    }


def test_a_user_s_settings_for_jupyter_change_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with lab(home, **settings(tmp_path)) as opened:
        assert len(opened.said) == 5, opened.said
        assert opened.url.path == f"/lab/tree/{FIRST}"
        assert len(opened.url.params["token"]) == 48
        assert opened.browser.get(f"/api/contents/{FIRST}").is_success
        assert opened.browser.get(opened.url.raw_path.decode()).is_success
        python = run_in(opened.kernel(), home, "import sys\nprint(sys.executable)")
        assert python == f"{sys.executable}\n"


# ---- a page whose address is another one than the lab's


async def from_a_page(opened: Opened, kernel: str, origin: str) -> int:
    """Open a kernel's websocket as the page of this origin does; return the status."""
    async with httpx.AsyncClient(trust_env=False) as page:
        cookies = (await page.get(opened.url)).cookies
    cookie = {"cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
    target = f"ws://{opened.url.netloc.decode()}/api/kernels/{kernel}/channels"
    try:
        async with connect(target, origin=Origin(origin), additional_headers=cookie, proxy=None):
            return 101
    except InvalidStatus as error:
        return error.response.status_code


@pytest.mark.slow
def test_a_page_that_is_refused_is_told_in_the_terminal_with_what_helps(tmp_path: Path) -> None:
    with lab(tmp_path) as opened:
        kernel, here = opened.kernel(), f"http://{opened.url.netloc.decode()}"
        assert asyncio.run(from_a_page(opened, kernel, here)) == 101
        for _ in range(2):
            assert asyncio.run(from_a_page(opened, kernel, EDITOR)) == 403
        said = opened.read_until("JupyterLab has refused")
        assert asyncio.run(from_a_page(opened, kernel, "https://other.example")) == 403
        assert "https://other.example" in opened.read_until("JupyterLab")  # and the first but once
    assert EDITOR in said
    assert "open the notebooks in that editor" in said
    [option] = re.findall(r"tour lab (--\S+)", said)
    with lab(tmp_path, option) as opened:
        assert asyncio.run(from_a_page(opened, opened.kernel(), EDITOR)) == 101


# ---- Ctrl-C


def in_a_terminal(command: list[str], until: bytes, env: dict[str, str]) -> tuple[str, int]:
    """Run a command in a terminal, press Ctrl-C once it has said something; return all of it."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execvpe(command[0], command, env)
    said, pressed, end = b"", False, time.monotonic() + 60
    while time.monotonic() < end:
        if not select.select([terminal], [], [], 0.2)[0]:
            continue
        try:
            said += os.read(terminal, 4096)
        except OSError:  # nobody is there any more
            break
        if until in said and not pressed:
            os.write(terminal, b"\x03")
            pressed = True
    status = os.waitpid(pid, 0)[1]
    os.close(terminal)
    return said.decode(errors="replace"), os.waitstatus_to_exitcode(status)


@pytest.mark.slow
@pytest.mark.skipif(Path(sys.prefix) != ROOT / ".venv", reason="make's environment is another one")
def test_ctrl_c_at_make_lab_is_no_error_of_make_s(tmp_path: Path) -> None:
    arguments = f"ARGS={tmp_path / 'copy'} --no-browser --port={free_port()}"
    env = environment(TOUR_HOME=str(tmp_path))
    env.pop("PYTHON", None)
    said, code = in_a_terminal(["make", "lab", arguments], b"Ctrl-C ends both.", env)
    assert code == -signal.SIGINT  # so a shell reports 130, and a script of commands stops
    assert "Error" not in said
    lines = [line for line in said.replace("^C", "").splitlines() if line.strip()]
    assert lines[-2:] == ["Ctrl-C ends both.", "restate-server stopped; its data stays."]
