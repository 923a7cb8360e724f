"""A user's settings for pip and npm: those about indexes count, those about places do not."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tests.helpers.environments import environment, run, tour
from tests.project.test_setup import checkout
from tour import quietly, server

pytestmark = pytest.mark.timeout(300)

QUIETLY = ROOT / "tour" / "quietly.py"
SPOILT = {
    "PIP_USER": "1",
    "PIP_TARGET": "/no/such",
    "PIP_CONSTRAINT": "/no/such",
    "PIP_REQUIRE_VIRTUALENV": "1",
    "PIP_REQUIREMENT": "/no/such",
    "PIP_NO_BINARY": ":all:",
    "PIP_PYTHON": "/no/such",
    "PIP_QUIET": "3",
    "PIP_LOG": "/no/such/log",
    "PIP_INDEX_URL": " ",
}
IN_A_FILE = "[global]\nuser = true\nconstraint = /no/such\ndry-run = true\nquiet = 2\n"
IN_A_NAMED_FILE = "[global]\ntimeout = 99\n[install]\nprefix = /no/such\nno-binary = :all:\n"
NPMRC = """global = true
dry-run = true
prefix = /no/such
package-lock = false
package-lock-only = true
location = global
before = 2020-01-01
cpu = mips
os = aix
omit[] = optional
"""


def settings(folder: Path) -> dict[str, str]:
    """Write a user's files of settings; return the variables that lead to them."""
    (folder / "config" / "pip").mkdir(parents=True)
    (folder / "config" / "pip" / "pip.conf").write_text(IN_A_FILE)
    (folder / "named.conf").write_text(IN_A_NAMED_FILE)
    return {
        "XDG_CONFIG_HOME": str(folder / "config"),
        "PIP_CONFIG_FILE": str(folder / "named.conf"),
    }


def test_the_locked_installation_goes_where_it_belongs(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "tour of agents")
    env = environment(**SPOILT, **settings(tmp_path))
    for name in ("MAKEFLAGS", "MAKELEVEL"):
        env.pop(name, None)
    ran = run(["make", ".venv/ready", f"PYTHON={sys.executable}"], env, folder)
    assert ran.returncode == 0, ran.stdout
    assert ran.stdout.splitlines() == ["Setting up .venv, once, in about a minute."]
    code = "import hatchling, tour; print(hatchling.__file__, tour.__file__)"
    found = run([".venv/bin/python", "-I", "-c", code], env, folder).stdout.split(" /")
    assert [
        path.startswith(str(folder / part))
        for path, part in zip([found[0], f"/{found[1]}"], [".venv", "tour"], strict=True)
    ] == [True, True], found


def test_what_pip_is_told_of_indexes_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    own = {"PIP_PROXY": "http://host:3128", "PIP_TIMEOUT": "7", "PIP_EXTRA_INDEX_URL": "a: b:"}
    for name, value in (SPOILT | settings(tmp_path) | own).items():
        monkeypatch.setenv(name, value)
    named = tmp_path / "named.conf"
    links = "find-links =\n  /one\n  /two 'é'\nindex-url = https://x\n[install]\nindex-url = https://y/%%7E\n"
    named.write_text(IN_A_NAMED_FILE.replace("[install]\n", links), encoding="utf-8")
    pip = {k: v for k, v in quietly.pip_environment().items() if k.startswith("PIP_")}
    machine = {"PIP_CERT", "PIP_TRUSTED_HOST"}  # what this machine may say for all its users
    assert {k: v.strip() for k, v in pip.items() if k not in machine} == own | {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_FIND_LINKS": "/one\n/two 'é'",
        "PIP_INDEX_URL": "https://y/%%7E",
        "PIP_NO_INPUT": "1",
    }


def test_a_failure_is_one_sentence_with_the_first_error_and_the_log() -> None:
    wrong = ["install", "--no-index", "--no-deps", "no-such-package==1"]
    ran = run([sys.executable, "-I", str(QUIETLY), *wrong], environment())
    assert ran.returncode == 1
    [line] = ran.stdout.splitlines()
    assert line.startswith(
        "pip could not install what the course needs: Could not find a version that satisfies the "
        "requirement no-such-package==1"
    )
    log = Path(line.rpartition("Its log: ")[2])
    assert "No matching distribution found" in log.read_text(encoding="utf-8")


def test_settings_that_pip_cannot_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "wrong.conf").write_text("[global\nindex-url")
    env = environment(PIP_CONFIG_FILE=str(tmp_path / "wrong.conf"))
    ran = run([sys.executable, "-I", str(QUIETLY), "install", "x"], env)
    assert ran.returncode == 1
    [line] = ran.stdout.splitlines()
    assert line.startswith("pip cannot read its settings: ")
    assert str(tmp_path / "wrong.conf") in line


def test_progress_is_one_line_that_is_written_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quietly, "PROGRESS_SECONDS", 0.3)
    (tmp_path / "full").write_bytes(bytes(5_000_000))
    code = "import sys, time; print('said'); time.sleep(0.5)"
    command = [sys.executable, "-c", code]
    quietly.run(command, tmp_path / "logs" / "log", tmp_path, dict(os.environ))
    out = capsys.readouterr().out
    assert out.count("MB") > 1
    assert out.replace("\r", "|") == "|  5 MB so far |" * out.count("MB")
    quietly.run(command, tmp_path / "logs" / "log", tmp_path, dict(os.environ), progress=False)
    assert capsys.readouterr().out == ""
    assert (tmp_path / "logs" / "log").read_text() == "said\n"


def test_binder_s_last_step_minds_the_same_settings() -> None:
    script = (ROOT / "postBuild").read_text()
    assert "pip='python -I tour/quietly.py'" in script
    assert "-m pip " not in script + (ROOT / "Makefile").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("npm", ["this machine's", "from PyPI"])
def test_npm_puts_the_server_where_it_belongs(tmp_path: Path, npm: str) -> None:
    if npm == "this machine's" and not shutil.which("npm"):
        pytest.skip("no npm on this machine")
    (tmp_path / "npmrc").write_text(NPMRC)
    env = {
        "npm_config_userconfig": str(tmp_path / "npmrc"),
        "npm_config_workspace": "x",
        "npm_config_min_release_age": "9999",
        "RESTATE_SERVER": "",
        **SPOILT,
        **settings(tmp_path),
    }
    if npm == "from PyPI":
        env["PATH"] = str(tmp_path)
    home = tmp_path / "home"
    ran = tour("install", home=home, **env)
    assert ran.returncode == 0, ran.stdout
    assert (home / f"restate-server-{server.VERSION}" / "bin" / "restate-server").exists()
    shutil.rmtree(home)


def test_a_server_that_cannot_run_here_says_why(tmp_path: Path) -> None:
    """As on a system whose C library is too old for it."""
    home = tmp_path / "home"
    fake = tmp_path / "bin" / "npm"
    fake.parent.mkdir()
    package = "node_modules/@restatedev/restate-server-any/bin"
    fake.write_text(
        f'#!/bin/sh\n[ "$1" = ci ] || {{ echo 11; exit; }}\nmkdir -p {package}\n'
        f"printf '#!/bin/sh\\necho GLIBC not found; exit 1' > {package}/restate-server\n"
        f"chmod +x {package}/restate-server\n"
    )
    fake.chmod(0o755)
    path = f"{fake.parent}{os.pathsep}{os.environ['PATH']}"
    ran = tour("install", home=home, RESTATE_SERVER="", PATH=path)
    assert ran.returncode == 1
    assert "it does not run on this machine (GLIBC not found)" in ran.stdout
