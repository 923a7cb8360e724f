"""The set-up's files agree with each other, and make does each piece of work once."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests.helpers import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NPM = ROOT / "tour" / "server" / "npm"
CLIENTS = ROOT / "tests" / "clients"
SEPARATE_LOCKS = [
    *sorted(CLIENTS.glob("*/requirements.lock")),
    ROOT / "benchmarks" / "requirements.lock",
    ROOT / "tests" / "browser" / "requirements.lock",
]
LOCKS = [ROOT / "requirements.lock", ROOT / "binder.lock", NPM / "node.lock", *SEPARATE_LOCKS]
NPM_LOCKS = [NPM / "package-lock.json", CLIENTS / "node" / "package-lock.json"]
EXTRAS = PROJECT["optional-dependencies"]
NEEDED = {
    ROOT / "requirements.lock": [*PROJECT["dependencies"], *EXTRAS["dev"], *EXTRAS["agents"]],
    ROOT / "binder.lock": EXTRAS["binder"],
} | {
    lock: re.findall("^[^#\n].*", lock.with_suffix(".in").read_text(), re.MULTILINE)
    for lock in SEPARATE_LOCKS
}
DIRECT = [(lock, needed) for lock, each in NEEDED.items() for needed in each]


def locked(lock: Path) -> list[tuple[Requirement, list[str]]]:
    """Return every requirement of a lock with its hashes."""
    text = re.sub(r"^#.*\n", "", lock.read_text(), flags=re.MULTILINE).replace("\\\n", "")
    entries = [line.split("--hash=") for line in text.splitlines()]
    return [(Requirement(first), [mark.strip() for mark in marks]) for first, *marks in entries]


# ---- the locks


def name(of: object) -> str:
    """Name a lock, and what is in it, within the checkout."""
    return str(of.relative_to(ROOT) if isinstance(of, Path) else of)


@pytest.mark.parametrize(("lock", "needed"), DIRECT, ids=name)
def test_the_lock_pins_every_direct_dependency(lock: Path, needed: str) -> None:
    wanted = Requirement(needed)
    pins = [
        next(iter(entry.specifier)).version
        for entry, _ in locked(lock)
        if canonicalize_name(entry.name) == canonicalize_name(wanted.name)
    ]
    assert pins, f"{wanted.name} is not in the lock: run make lock"
    assert all(pin in wanted.specifier for pin in pins), f"{needed} is locked to {pins}"


@pytest.mark.parametrize("lock", LOCKS, ids=name)
def test_every_line_of_a_lock_is_one_version_with_hashes(lock: Path) -> None:
    assert locked(lock)
    for entry, hashes in locked(lock):
        assert [spec.operator for spec in entry.specifier] == ["=="], entry
        assert hashes, f"{entry} has no hash"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", mark) for mark in hashes), entry


@pytest.mark.parametrize("lock", [*LOCKS, *NPM_LOCKS], ids=name)
def test_no_lock_names_a_registry_or_a_machine(lock: Path) -> None:
    # npm notes where the authors of a package ask for money: no registry, and no machine of ours.
    text = re.sub(r'"funding": \{[^}]*\}', "", lock.read_text())
    assert not re.search(r"://|resolved|index-url|find-links|/home/|/root/|/tmp/", text)


def test_every_extra_is_in_a_lock() -> None:
    assert set(EXTRAS) == {"dev", "agents", "binder"}


def test_binder_s_lock_adds_to_the_course_s_and_repeats_nothing() -> None:
    course, more = (
        {canonicalize_name(entry.name) for entry, _ in locked(ROOT / each)}
        for each in ("requirements.lock", "binder.lock")
    )
    assert "jupyter-server-proxy" in more
    assert not course & more, "these could have two versions: run make lock"


def test_nest_asyncio_is_locked_only_where_it_works() -> None:
    markers = {entry.name: entry.marker for entry, _ in locked(ROOT / "requirements.lock")}
    marker = markers["nest-asyncio"]
    assert marker is not None
    works = {"3.13": True, "3.14": False}
    assert {v: marker.evaluate({"python_full_version": f"{v}.0"}) for v in works} == works
    assert "nest-asyncio2" in markers


def test_the_npm_lock_holds_the_pinned_server_for_every_platform() -> None:
    pin = json.loads((NPM / "package.json").read_text())["dependencies"]
    packages = json.loads((NPM / "package-lock.json").read_text())["packages"]
    assert packages[""]["dependencies"] == pin
    for platform in ["linux-x64", "linux-arm64", "darwin-x64", "darwin-arm64"]:
        package = packages[f"node_modules/@restatedev/restate-server-{platform}"]
        assert package["version"] == pin["@restatedev/restate-server"]
    del packages[""]
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())


def test_the_npm_lock_of_the_clients_pins_what_they_need() -> None:
    wanted = json.loads((CLIENTS / "node" / "package.json").read_text())["dependencies"]
    packages = json.loads((CLIENTS / "node" / "package-lock.json").read_text())["packages"]
    assert packages.pop("")["dependencies"] == wanted
    pins = {name.removeprefix("node_modules/"): each["version"] for name, each in packages.items()}
    assert {name: pins[name] for name in wanted} == wanted
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())


# ---- conda, Binder, dev containers, forks


def test_the_conda_environment_is_a_python_of_the_project_and_its_lock() -> None:
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, packages = conda["dependencies"]
    assert conda["name"] == PROJECT["name"]
    # Binder knows a Python by "=" and a number. For any other words it takes one of its own.
    version = re.fullmatch(r"python=(3\.\d+)", python)
    assert version
    assert f"{version[1]}.0" in SpecifierSet(PROJECT["requires-python"])
    assert pip == "pip"
    assert packages == {"pip": ["--requirement requirements.lock"]}
    assert not [name for name in ("binder", ".binder") if (ROOT / name).exists()], "read instead"


def test_binder_s_last_step_installs_the_proxy_as_locked_and_nobody_else_does() -> None:
    script = ROOT / "postBuild"
    assert os.access(script, os.X_OK)
    assert script.read_text().startswith("#!/bin/sh\n")
    [proxy] = [line for line in script.read_text().splitlines() if "binder.lock" in line]
    assert {"--no-deps", "--require-hashes"} <= set(proxy.split())
    lab = make(ROOT, "--dry-run", "--always-make", "lab").stdout
    assert "requirements.lock" in lab
    assert "binder.lock" not in lab


def test_the_dev_container_has_a_python_of_the_project_and_sets_the_course_up() -> None:
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    python = container["image"].rpartition(":")[2]
    assert f"{python}.0" in SpecifierSet(PROJECT["requires-python"])
    target = container["postCreateCommand"].removeprefix("make ")
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_a_fork_s_ci_runs_the_course_s_on_every_python_of_the_project() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    [job] = workflow["jobs"].values()
    wanted = SpecifierSet(PROJECT["requires-python"])
    pythons = [f"3.{minor}" for minor in range(30) if f"3.{minor}.0" in wanted]
    assert job["strategy"]["matrix"]["python"] == pythons
    [command] = [step["run"] for step in job["steps"] if "run" in step]
    assert os.access(ROOT / command, os.X_OK)


# ---- make


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make as a shell would: without what an outer make or its caller has set."""
    env = {k: v for k, v in os.environ.items() if k not in {"MAKEFLAGS", "MAKELEVEL", "PYTHON"}}
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=env, capture_output=True, text=True, check=False
    )


def checkout(folder: Path) -> Path:
    """Make a small checkout: the real Makefile, and a lock of what installs the package."""
    (folder / "tour" / "server").mkdir(parents=True)
    for name in ["Makefile", "pyproject.toml", "README.md", "LICENSE", "tour/quietly.py"]:
        shutil.copy(ROOT / name, folder / name)
    (folder / "tour" / "__init__.py").write_text('"""Empty."""\n')
    text = (ROOT / "requirements.lock").read_text()
    names = "hatchling|packaging|pathspec|pluggy|tomlkit|trove-classifiers"
    backend = re.findall(rf"^(?:{names})==.*\n(?: +--hash.*\n)+", text, re.MULTILINE)
    assert len(backend) == 6
    (folder / "requirements.lock").write_text("".join(backend))
    return folder


def make_old(folder: Path, stamp: str) -> None:
    """Set a file's time back, so that what is changed now is newer whatever the clock's grain."""
    os.utime(folder / stamp, (1_600_000_000, 1_600_000_000))


def fake_python(script: Path, body: str) -> Path:
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)
    return script


def test_help_lists_every_target_and_is_what_make_alone_does() -> None:
    shown = make(ROOT)
    named = [line.split()[1] for line in shown.stdout.splitlines()]
    rare = "clients browser campaign versions bench audit notebooks lock clean server"
    assert named == ["help", "lab", "test", "check", *rare.split()]
    assert shown.stdout == make(ROOT, "help").stdout


def test_an_unfit_python_is_refused_in_one_sentence(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "tour of agents")
    old = fake_python(tmp_path / "old", 'test "$1" = --version && echo Python 3.10.13')
    bare = fake_python(tmp_path / "bare", 'case "$2" in *ensurepip*) exit 1;; esac')
    for python, said in {
        old: "Python 3.10.13 is not for this course: install Python 3.11 to 3.14",
        tmp_path / "none": f"There is no {tmp_path / 'none'} here: install Python 3.11 to 3.14",
        bare: f"{bare} cannot make virtual environments: on Debian or Ubuntu, apt install",
    }.items():
        ran = make(folder, ".venv/ready", f"PYTHON={python}")
        assert ran.returncode
        assert ran.stderr.splitlines()[0].startswith(said)
        assert not (folder / ".venv").exists()


def test_set_up_is_done_once_and_again_when_it_must_be(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "tour of agents")
    good = (folder / "requirements.lock").read_text()
    ready = (".venv/ready", f"PYTHON={sys.executable}")

    first = make(folder, *ready)
    assert first.returncode == 0, first.stderr
    assert first.stdout.splitlines() == ["Setting up .venv, once, in about a minute."]
    assert list((folder / ".venv").glob("lib/*/site-packages/hatchling"))
    assert "up to date" in make(folder, ".venv/ready").stdout, "it was done twice"
    (folder / "requirements.lock").write_text(good + "\n")
    make_old(folder, ".venv/made-by")
    assert "-m venv --clear" in make(folder, "-n", ".venv/ready").stdout, "a new lock went unseen"
    make_old(folder, "requirements.lock")
    assert "up to date" in make(folder, ".venv/ready").stdout

    stamp = (folder / ".venv" / "made-by").rename(tmp_path / "stamp")
    assert "-m venv --clear" in make(folder, "-n", ".venv/ready").stdout, "half of it was trusted"
    stamp.rename(folder / ".venv" / "made-by")
    other = make(folder, "-n", ".venv/ready", "PYTHON=python3.99")
    assert "python3.99" in other.stdout, "another Python went unseen"
    moved = folder.rename(tmp_path / "moved")
    assert "-m venv --clear" in make(moved, "-n", ".venv/ready").stdout, "a move went unseen"


def test_a_package_that_is_not_the_locked_one_is_refused(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "tour of agents")
    steps = make(folder, "-n", ".venv/ready", f"PYTHON={sys.executable}").stdout.replace("\\\n", "")
    [options] = re.findall(
        r"^\.venv/bin/python -I tour/quietly.py (install .* requirements.lock)$", steps, re.M
    )
    assert "--require-hashes" in options  # for a line that had none
    lock = folder / "requirements.lock"
    lock.write_text(re.sub(r"sha256:\w{8}", "sha256:0badc0de", lock.read_text()))
    pip = [sys.executable, "-m", "pip"]
    command = [*pip, *options.split(), "--dry-run", "--ignore-installed"]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ran.returncode
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in ran.stderr
