"""The README and the pages beside it: every command is run, every table held against the code."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tests.helpers.exercise_source import NOTEBOOKS, read
from tests.helpers.serving import stand_in
from tour import server

README = (ROOT / "README.md").read_text()
INSTRUCTORS = ROOT / "docs" / "instructors.md"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", INSTRUCTORS]
# Commands that a test elsewhere runs, or this very run is.
RUN_BY = {
    "make lab": "test_lab.py, test_setup.py",
    "make test": "this run",
    "make check": ".ci/run",
    "make server": "test_setup.py",
    ".venv/bin/tour export 01 my-agent": "test_export.py",
    ".venv/bin/tour model --port 8090": "test_cli.py",
}


INSTALL = ".venv/bin/python -c 'from tour import server; server.install()'"


def fences(language: str, page: Path = ROOT / "README.md") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def commands(page: Path) -> list[str]:
    return [line for fence in fences("sh", page) for line in fence.splitlines()]


def rows(first_cell: str) -> list[str]:
    """Return the first cells of the table rows that begin like this."""
    return re.findall(rf"^\| ({first_cell}[^|]*?) \|", README, re.MULTILINE)


def test_every_python_fence_runs_and_prints_what_it_says() -> None:
    with stand_in() as model:
        port = model.url.split(":")[-1].removesuffix("/v1")
        for fence in fences("python"):
            code = fence.replace("8090", port)
            ran = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=False
            )
            expected = re.findall(r"^# prints: (.*)$", fence, re.MULTILINE)
            assert (ran.stdout.splitlines(), ran.stderr) == (expected, "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_is_run_by_some_test(page: Path) -> None:
    offline = commands(INSTRUCTORS)  # both fences of it, by the test below
    for command in commands(page):
        assert command in RUN_BY or command in offline or command.startswith("export OPENAI_")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_course_is_set_up_without_internet(tmp_path: Path) -> None:
    """The page's two fences, each in a clone; the second one with no way to the network."""
    first, second = fences("sh", INSTRUCTORS)
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    (clone / ".venv").symlink_to(ROOT / ".venv")
    fetch = first.replace("make server", INSTALL)
    subprocess.run(["bash", "-euc", fetch], cwd=clone, check=True, env=clean(tmp_path / "home"))
    (clone / ".venv").unlink()
    nowhere = {"npm_config_registry": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
    begin = second.replace("make lab", "make server && .venv/bin/tour doctor")
    ran = subprocess.run(
        ["bash", "-euc", begin],
        cwd=clone,
        env=clean(tmp_path / "empty") | nowhere,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert f"at {clone}/wheels/restate-server" in ran.stdout


def clean(home: Path) -> dict[str, str]:
    """Return the environment of somebody who has set nothing."""
    foreign = ("RESTATE_", "OPENAI_", "PIP_", "npm_config_", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return kept | {"TOUR_HOME": str(home)}


def test_the_table_of_notebooks_is_the_folder() -> None:
    titles = re.findall(r"\| (\d+) \| \[(.*?)\]\((.*?)\) \| .*? \| (\d+) \|", README)
    assert [Path(link).name for _, _, link, _ in titles] == [path.name for path in NOTEBOOKS]
    for (number, title, _, minutes), path in zip(titles, NOTEBOOKS, strict=True):
        head = read(path).cells[0].source
        assert head.startswith(f"# {number} · {title}\n")
        assert f"{minutes} minutes" in head


def test_the_table_of_commands_is_the_command_line() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "tour", "--help"], capture_output=True, text=True, check=True
    )
    known = re.findall(r"^    (\w+)  ", shown.stdout, re.MULTILINE)
    assert sorted(rows("`tour ")) == sorted(f"`tour {name}`" for name in known)


def test_the_table_of_variables_is_what_the_code_reads() -> None:
    """And every make target that the README names is in the Makefile."""
    code = "\n".join(path.read_text() for path in (ROOT / "tour").rglob("*.py"))
    for name in re.findall(r"`((?:TOUR|RESTATE|OPENAI)_\w+)`", README):
        assert name in code or name.endswith("_URL"), name
    targets = re.findall(r"^(\w+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    written = "\n".join(page.read_text() for page in PAGES)
    assert set(re.findall(r"(?:`|^)make (\w+)", written, re.MULTILINE)) <= {*targets}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_to_files_and_their_headings(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)(.*?)\)", page.read_text()):
        path, _, heading = link.partition("#")
        assert (page.parent / path).exists(), link
        if heading:
            titles = re.findall(r"^#+ (.*)$", (page.parent / path).read_text(), re.MULTILINE)
            assert heading in [title.lower().replace(" ", "-") for title in titles], link


@pytest.mark.parametrize(("plan", "total"), [("Ninety minutes", 90), ("Half a day", 240)])
def test_a_plan_has_the_notebooks_minutes_and_adds_up(plan: str, total: int) -> None:
    chapter = INSTRUCTORS.read_text().partition(f"## {plan}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\d+) \| (?:\[\d+ · (.*?)\]\(\.\./(.*?)\))?", chapter, re.MULTILINE)
    assert sum(int(minutes) for minutes, *_ in rows) == total
    for minutes, title, link in rows:
        if link:
            head = read(ROOT / link).cells[0].source
            assert title in head
            assert f"{minutes} minutes" in head


def test_what_the_troubleshooting_quotes_is_said_by_the_code() -> None:
    """The text of an error stands in the table as it is raised, up to what varies."""
    sources = [*(ROOT / "tour").rglob("*.py"), ROOT / "Makefile"]
    said = " ".join(" ".join(path.read_text() for path in sources).split())
    for quoted in [
        "python3 cannot make virtual environments",
        "could not be installed",
        "is taken",
        "Nobody serves",
        "fails again and again",
        "The tour has paused it",
        "is not for this course",
        "failed with status",
    ]:
        assert quoted in README
        assert quoted.removeprefix("python3 ") in said, quoted
    assert str(server.DEFAULT_PORTS[0]) in README
