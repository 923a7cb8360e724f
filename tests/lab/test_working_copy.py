"""The working copy: what is the learner's is never overwritten, what is not follows the course."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.helpers import ROOT
from tests.helpers.exercise_source import NOTEBOOKS
from tests.helpers.labs import Lab, run_in, session
from tour import cli, lab
from tour.asgi import free_port
from tour.errors import TourError
from tour.lab import refresh

ONE, TWO, THREE = "01_one.ipynb", "02_two.ipynb", "03_three.ipynb"
HELPER = "model_call.py"
STAYS = "stays as you have it. The course has another version."


def notebook(*sources: str, **metadata: object) -> dict[str, Any]:
    """Return a notebook of code cells, each with an output, as the course has them."""
    output = {"output_type": "stream", "name": "stdout", "text": ["the answer\n"]}
    cells = [
        {"cell_type": "code", "execution_count": 1, "id": f"cell-{n}", "metadata": {}}
        | {"outputs": [output], "source": source.splitlines(keepends=True)}
        for n, source in enumerate(sources)
    ]
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


class Course:
    """A small course, and one learner's copy of it."""

    def __init__(self, folder: Path) -> None:
        self.source, self.copy = folder / "course", folder / "copy"
        (self.source / "solutions").mkdir(parents=True)
        (self.source / "solutions" / "01.1.py").write_text("print('solved')\n")
        (self.source / ".ipynb_checkpoints").mkdir()
        (self.source / ".ipynb_checkpoints" / ONE).write_text("{}")
        self.has(HELPER, "ANSWER = 42\n")
        for name in (ONE, TWO, THREE):
            self.has(name, notebook("import tour", "def f() -> int:\n    return 1"))

    def has(self, name: str, content: "str | dict[str, Any]") -> None:
        """Let the course have this, from now on."""
        text = content if isinstance(content, str) else json.dumps(content, indent=1) + "\n"
        (self.source / name).write_text(text)

    def refresh(self, *fresh: str) -> list[str]:
        return list(refresh(self.copy, fresh))

    def files(self) -> dict[str, bytes]:
        """Return what the learner sees of the copy."""
        paths = [path for path in self.copy.rglob("*") if path.is_file()]
        return {p.name: p.read_bytes() for p in paths if not p.name.startswith(".")}

    def read(self, name: str) -> Any:
        return json.loads((self.copy / name).read_text())

    def edit(self, name: str, source: str = "mine = 1") -> bytes:
        """Do what a learner does who edits a cell and saves; return the file."""
        edited = self.read(name)
        edited["cells"][1]["source"] = source
        (self.copy / name).write_text(json.dumps(edited))
        return (self.copy / name).read_bytes()

    def run(self, name: str) -> bytes:
        """Do what a learner does who runs the first cell and saves; return the file."""
        ran = self.read(name)
        ran["cells"][0] |= {"outputs": notebook("x")["cells"][0]["outputs"], "execution_count": 7}
        (self.copy / name).write_text(json.dumps(ran))
        return (self.copy / name).read_bytes()


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Course:
    made = Course(tmp_path)
    for name in ("tour.home.course", "tour.lab.copy.course"):
        monkeypatch.setattr(name, lambda: made.source)
    return made


# ---- what is given


def test_it_has_neither_outputs_nor_numbers_nor_solutions(course: Course) -> None:
    assert course.refresh() == []
    assert sorted(course.files()) == sorted([ONE, TWO, THREE, HELPER])
    given, wanted = course.read(ONE), notebook("import tour", "def f() -> int:\n    return 1")
    for cell in wanted["cells"]:
        cell |= {"outputs": [], "execution_count": None}
    assert given == wanted


def test_the_real_course_is_given_whole(tmp_path: Path) -> None:
    assert list(refresh(tmp_path / "copy")) == []
    names = {path.name for path in (ROOT / "notebooks").iterdir() if path.is_file()}
    assert {path.name for path in (tmp_path / "copy").iterdir()} - {".tour.json"} == names
    for path in (tmp_path / "copy").glob("*.ipynb"):
        cells = json.loads(path.read_text())["cells"]
        code = [cell for cell in cells if cell["cell_type"] == "code"]
        assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
        original = json.loads((ROOT / "notebooks" / path.name).read_text())["cells"]
        assert [(c["id"], c["source"], c["metadata"]) for c in cells] == [
            (c["id"], c["source"], c["metadata"]) for c in original
        ]


LINK = re.compile(
    r"\]\((?!https?:|#|attachment:)([^)#\s]+)|(?:src|href)=[\"'](?!https?:|#)([^\"'#]+)"
)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: str(path.stem))
def test_its_links_lead_to_files_in_it(path: Path, tmp_path: Path) -> None:
    list(refresh(tmp_path / "copy"))
    cells = json.loads((tmp_path / "copy" / path.name).read_text())["cells"]
    texts = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    links = ["".join(found) for found in LINK.findall(texts)]
    assert links or path == NOTEBOOKS[-1], "each but the last leads to the next"
    for link in links:
        target = (tmp_path / "copy" / link).resolve()
        assert target.is_relative_to(tmp_path / "copy"), link
        assert target.is_file(), link


def test_again_it_touches_nothing(course: Course) -> None:
    course.refresh()
    paths = [course.copy, *course.copy.iterdir()]
    before = [path.stat().st_mtime_ns for path in paths]
    assert course.refresh() == []
    assert [path.stat().st_mtime_ns for path in paths] == before


# ---- a new version of the course


def test_what_is_unchanged_follows(course: Course) -> None:
    course.refresh()
    course.has(ONE, notebook("import tour", "new = 1"))
    course.has(HELPER, "ANSWER = 43\n")
    course.has("04_four.ipynb", notebook("import tour"))
    (course.source / TWO).rename(course.source / "02_new_name.ipynb")
    (course.source / THREE).unlink()
    assert course.refresh() == []
    assert sorted(course.files()) == [
        ONE, "02_new_name.ipynb", "04_four.ipynb", HELPER,
    ]  # fmt: skip
    assert course.read(ONE)["cells"][1]["source"] == ["new = 1"]
    assert course.files()[HELPER] == b"ANSWER = 43\n"


@pytest.mark.parametrize("change", ["edit", "run"])
def test_what_the_learner_has_edited_or_run_stays(course: Course, change: str) -> None:
    course.refresh()
    yours = {name: getattr(course, change)(name) for name in (ONE, TWO, THREE)}
    assert course.refresh() == [], "nothing new"
    course.has(ONE, notebook("import tour", "new = 1"))
    (course.source / TWO).rename(course.source / "02_new_name.ipynb")
    (course.source / THREE).unlink()
    said = course.refresh()
    assert {name: course.files()[name] for name in yours} == yours
    takes = "To take it and keep your version beside it: tour lab --fresh 01"
    gone = "stays as you have it. The course does not have it any more."
    assert said == [f"{ONE} {STAYS} {takes}", f"{TWO} {gone}", f"{THREE} {gone}"]
    assert "02_new_name.ipynb" in course.files()
    assert course.refresh() == said[:1], "it is said for as long as it is so, or once"


def test_an_edit_taken_back_follows_again(course: Course) -> None:
    course.refresh()
    given = (course.copy / ONE).read_bytes()
    course.edit(ONE)
    course.has(ONE, notebook("newer"))
    assert course.refresh()
    (course.copy / ONE).write_bytes(given)
    assert course.refresh() == []
    assert course.read(ONE)["cells"][0]["source"] == ["newer"]


def test_what_jupyterlab_rewrites_when_it_opens_one_is_no_change(course: Course) -> None:
    course.refresh()
    opened = course.read(ONE)
    opened["metadata"] = {"kernelspec": {"name": "python3"}, "language_info": {"version": "3.12"}}
    for cell in opened["cells"]:
        cell["source"] = "".join(cell["source"])
        cell["metadata"] = {"trusted": True}
    (course.copy / ONE).write_text(json.dumps(opened, sort_keys=True))
    before = (course.copy / ONE).read_bytes()
    assert course.refresh() == []
    assert (course.copy / ONE).read_bytes() == before, "there was nothing new"
    course.has(ONE, notebook("newer"))
    assert course.refresh() == []
    assert course.read(ONE)["cells"][0]["source"] == ["newer"]


def test_new_tags_and_new_metadata_are_a_new_version(course: Course) -> None:
    course.refresh()
    tagged = notebook("import tour", "def f() -> int:\n    return 1", folded=True)
    tagged["cells"][1]["metadata"]["tags"] = ["snippet"]
    course.has(ONE, tagged)
    course.has(TWO, notebook("import tour", "def f() -> int:\n    return 1", folded=True))
    assert course.refresh() == []
    assert course.read(ONE)["cells"][1]["metadata"] == {"tags": ["snippet"]}
    assert course.read(TWO)["metadata"] == {"folded": True}


def test_a_tag_of_the_learner_s_is_a_change(course: Course) -> None:
    course.refresh()
    mine = course.read(ONE)
    mine["cells"][1]["metadata"]["tags"] = ["snippet"]
    (course.copy / ONE).write_text(json.dumps(mine))
    course.has(ONE, notebook("newer"))
    assert STAYS in course.refresh()[0]


# ---- files of the learner's


def test_deleted_and_renamed_files_come_back_and_the_learner_s_stay(course: Course) -> None:
    course.refresh()
    (course.copy / ONE).unlink()
    yours = course.edit(TWO)
    (course.copy / TWO).rename(course.copy / "my_two.ipynb")
    (course.copy / "notes.txt").write_text("mine")
    assert course.refresh() == []
    files = course.files()
    assert sorted(files) == sorted([ONE, TWO, THREE, HELPER, "my_two.ipynb", "notes.txt"])
    assert files["my_two.ipynb"] == yours
    assert files[TWO] != yours


@pytest.mark.parametrize("name", ["04_four.ipynb", "tools.py"])
def test_a_file_whose_name_the_course_takes_later_stays(course: Course, name: str) -> None:
    course.refresh()
    (course.copy / name).write_text("mine")
    course.has(name, notebook("theirs"))
    fresh = "To take it and keep your version beside it: tour lab --fresh 04"
    how = (
        fresh if name.endswith("ipynb") else "To take it, rename your file and start the lab again."
    )
    assert course.refresh() == [f"{name} {STAYS} {how}"]
    assert course.files()[name] == b"mine"
    (course.source / name).unlink()
    assert course.refresh() == []
    assert course.files()[name] == b"mine"


@pytest.mark.parametrize(
    "half", [b"", b"{", b"[]", b'{"cells": [{"cell_type"', b'{"cells": ["a"]}']
)
def test_half_a_notebook_stays_until_it_is_set_back(course: Course, half: bytes) -> None:
    course.refresh()
    given = course.files()
    (course.copy / ONE).write_bytes(half)
    assert course.refresh() == []
    course.has(TWO, notebook("newer"))
    course.refresh()
    assert course.files()[ONE] == half
    [said] = course.refresh("1")
    old = said.removeprefix(f"{ONE} is as the course has it. Your version is now ")[:-1]
    assert course.files()[old] == half
    assert course.files()[ONE] == given[ONE]


@pytest.mark.parametrize(
    "manifest", [None, b"", b"[1]", b"{", b'{"01_one.ipynb": 3}', b"\xff", b"3"]
)
def test_without_its_list_everything_counts_as_the_learner_s(
    course: Course, manifest: bytes | None
) -> None:
    course.refresh()
    course.edit(TWO)
    before = course.files()
    (course.copy / ".tour.json").unlink()
    if manifest is not None:
        (course.copy / ".tour.json").write_bytes(manifest)
    course.has(ONE, notebook("newer"))
    said = course.refresh()
    assert course.files() == before
    assert [line.split()[0] for line in said] == [ONE, TWO]
    course.has(THREE, notebook("newer"))  # which was found to be as it is given
    course.refresh()
    assert course.read(THREE)["cells"][0]["source"] == ["newer"]


def test_half_a_notebook_of_the_course_is_one_sentence(course: Course) -> None:
    course.refresh()
    before = course.files()
    course.has(ONE, "<<<<<<< HEAD")
    course.has(TWO, notebook("newer"))
    with pytest.raises(TourError, match=rf"{ONE} is not a notebook .* Install the course again\."):
        course.refresh()
    assert course.files() == before


# ---- set one back


def test_fresh_sets_notebooks_back_and_keeps_the_old_ones_beside_them(course: Course) -> None:
    course.refresh()
    given = course.files()
    yours = {ONE: course.edit(ONE), TWO: course.run(TWO), THREE: course.edit(THREE)}
    said = course.refresh("01", "2")
    assert [line.partition(" Your version")[0] for line in said] == [
        f"{name} is as the course has it." for name in (ONE, TWO)
    ]
    files = course.files()
    old = [line.removesuffix(".").split()[-1] for line in said]
    assert [files[name] for name in old] == [yours[ONE], yours[TWO]]
    assert all(name.startswith(f"old_{n}") for n, name in zip(("01", "02"), old, strict=True))
    assert {name: files[name] for name in given} == given | {THREE: yours[THREE]}
    course.edit(ONE, "second = 2")
    course.refresh("1")
    assert len(course.files()) == len(given) + 3, "nothing old was overwritten"
    course.has(ONE, notebook("newer"))
    course.refresh()
    assert course.read(ONE)["cells"][0]["source"] == ["newer"], "it follows again"


def test_fresh_of_one_that_is_as_given_moves_nothing(course: Course) -> None:
    course.refresh()
    (course.copy / TWO).unlink()
    assert course.refresh("1", "2") == [f"{name} is as the course has it." for name in (ONE, TWO)]
    assert len(course.files()) == 4


@pytest.mark.parametrize("number", ["99", "", "x", "../1"])
def test_a_notebook_that_is_not_there_is_one_sentence(course: Course, number: str) -> None:
    with pytest.raises(TourError, match=r"^There is no notebook .* There are: 01, 02, 03\.$"):
        course.refresh("1", number)
    assert not course.copy.exists()


# ---- folders, and what may happen in the middle


@pytest.mark.parametrize("name", ["a b/é ü/日本", "deep/er", "-x"])
def test_it_may_have_any_name(course: Course, tmp_path: Path, name: str) -> None:
    course.copy = tmp_path / name
    assert course.refresh() == []
    assert ONE in course.files()


def test_it_may_be_a_link_and_is_written_where_that_leads(course: Course, tmp_path: Path) -> None:
    (tmp_path / "copy").symlink_to(tmp_path / "elsewhere")
    course.refresh()
    assert (tmp_path / "copy").is_symlink()
    assert (tmp_path / "elsewhere" / ONE).exists()


def test_a_folder_that_cannot_be_one_is_one_sentence(
    course: Course, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    course.copy = tmp_path / "file"
    course.copy.write_text("mine")
    for folder in (course.copy, course.copy / "below"):
        course.copy = folder
        with pytest.raises(TourError, match=r"file.*: .*\. Name a folder that you can write to\.$"):
            course.refresh()
    assert (tmp_path / "file").read_text() == "mine"
    course.copy = tmp_path / "readonly"
    course.refresh()
    course.has(ONE, notebook("newer"))
    before = course.files()

    def refused(self: Path, _: bytes) -> None:  # root may write anywhere
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "write_bytes", refused)
    with pytest.raises(
        TourError, match=r"readonly.*: Permission denied\. Name a folder that you can write to"
    ):
        course.refresh()
    assert course.files() == before


def test_the_course_itself_is_refused(course: Course, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(course.source)
    before = set(tmp_path.rglob("*"))
    for folder in (course.source, course.source / "below", tmp_path, tmp_path / "link"):
        course.copy = folder
        with pytest.raises(TourError, match="is the course itself, which your work would change"):
            course.refresh()
    assert set(tmp_path.rglob("*")) == before


def test_killed_at_any_moment_it_leaves_whole_files_and_is_finished_later(
    course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    course.refresh()
    yours = course.edit(THREE)
    before = course.files()
    for name in (ONE, TWO, THREE):
        course.has(name, notebook("newer"))
    left = 0
    replace = Path.replace

    def killed(self: Path, to: Path) -> Path:
        nonlocal left
        if not left:
            raise KeyboardInterrupt
        left -= 1
        return replace(self, to)

    monkeypatch.setattr(Path, "replace", killed)
    for files_before in (0, 1, 1):  # then the second notebook is written, and the list is not
        left = files_before
        with pytest.raises(KeyboardInterrupt):
            course.refresh()
        found = course.files()
        assert sorted(found) == sorted(before)
        assert found[THREE] == yours
        assert all(json.loads(found[name])["cells"] for name in (ONE, TWO))
    left = 99
    assert len(course.refresh()) == 1
    assert [course.read(name)["cells"][0]["source"] for name in (ONE, TWO)] == [["newer"]] * 2
    assert course.files()[THREE] == yours


def test_two_at_once_on_one_copy_do_the_work_once(course: Course) -> None:
    course.refresh()
    yours = course.edit(ONE)
    said: list[list[str]] = []
    threads = [threading.Thread(target=lambda: said.append(course.refresh("1"))) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    moved = [line for lines in said for line in lines if "Your version" in line]
    assert len(moved) == 1
    assert [name for name in course.files() if name.startswith("old_")] == [
        moved[0].removesuffix(".").split()[-1]
    ]
    assert yours in course.files().values()


# ---- the command


@pytest.mark.parametrize(
    ("typed", "folder", "fresh", "options"),
    [
        ("", None, None, []),
        ("--port 9999", None, None, ["--port", "9999"]),
        ("mine --no-browser --port 9999", "mine", None, ["--no-browser", "--port", "9999"]),
        ("--fresh 03", None, ["03"], []),
        ("--fresh 3 4 --no-browser", None, ["3", "4"], ["--no-browser"]),
        ("mine --fresh 3 --fresh 4", "mine", ["3", "4"], []),
    ],
)
def test_the_folder_is_the_first_argument_if_it_is_no_option(
    monkeypatch: pytest.MonkeyPatch,
    typed: str,
    folder: str | None,
    fresh: list[str] | None,
    options: list[str],
) -> None:
    ran = []
    monkeypatch.setattr(lab, "run", lambda *given: ran.append(given) or 0)  # type: ignore[func-returns-value]
    monkeypatch.setattr(sys, "argv", ["tour", "lab", *typed.split()])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    assert ran == [(options, Path(folder) if folder else None, fresh)]


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Path]:
    """A clone of the course, clean in git, that shares this one's environment."""
    clone = tmp_path / "a clone"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    (clone / ".venv").mkdir()
    (clone / ".venv" / "bin").symlink_to(ROOT / ".venv" / "bin")
    (clone / ".venv" / "made-by").write_text(f"{clone} python3\n")
    (clone / ".venv" / "ready").touch()
    yield clone
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True
    )
    assert status.stdout == ""


def typed(clone: Path, command: str, at: Path) -> subprocess.CompletedProcess[str]:
    """Run a command that starts neither Jupyter nor the server, and prints what Jupyter is told."""
    code = "import sys, tour.lab.lab as it\nit._lab = lambda *told: print(told) or 0\n"
    code += f"it.server.up = lambda: None\n{command}"
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=at,
        env=os.environ | {"PYTHONPATH": str(clone)},
        capture_output=True,
        text=True,
        check=False,
    )


def run_lab(clone: Path, at: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = ["tour", "lab", *arguments]
    return typed(clone, f"sys.argv = {argv}; from tour.cli import main; main()", at)


def test_a_clone_s_copy_is_its_own_wherever_it_is_typed(clone: Path, tmp_path: Path) -> None:
    ran = run_lab(clone, tmp_path, "--no-browser")
    assert ran.returncode == 0, ran.stderr
    assert f"--ServerApp.root_dir={clone}/my-notebooks" in ran.stdout
    assert (clone / "my-notebooks" / lab.FIRST).exists()
    (clone / "my-notebooks" / lab.FIRST).write_text("{")
    (clone / "my-notebooks" / ".tour.json").unlink()
    ran = run_lab(clone, tmp_path, "--no-browser")
    [takes] = [line.split(": ")[1] for line in ran.stdout.splitlines() if STAYS in line]
    assert takes == 'make lab ARGS="--fresh 01"'
    ran = run_lab(clone, tmp_path, "notes", "--no-browser")
    assert (tmp_path / "notes" / lab.FIRST).exists()


def test_a_clone_stays_clean_in_git_whatever_folder_is_named(clone: Path) -> None:
    for name in (".", "notebooks", "notebooks/mine"):
        ran = run_lab(clone, clone, name)
        assert ran.returncode == 1
        assert ran.stderr.startswith(f"tour lab: {(clone / name).resolve()} is the course itself")
        assert len(ran.stderr.splitlines()) == 1
    for name in ("mine", "docs", "my-notebooks/mine"):
        assert run_lab(clone, clone, name).returncode == 0
        assert (clone / name / lab.FIRST).exists()


class MadeLab(Lab):
    """A `make lab` in a clone."""

    def __init__(self, clone: Path, home: Path, *options: str) -> None:
        self.home, self.said = home, []
        foreign = ("MAKE", "MFLAGS", "JUPYTER", "JPY_", "PYTHON")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
        self.env |= {"TOUR_HOME": str(home), "PYTHONPATH": str(clone), "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            ["make", "lab", f"ARGS=--no-browser --port={free_port()} {' '.join(options)}"],
            cwd=clone,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_clone_stays_clean_in_git_whatever_people_do_in_the_lab(
    clone: Path, tmp_path: Path
) -> None:
    (home := tmp_path / "home").mkdir(mode=0o700)
    running = MadeLab(clone, home, "--fresh", "03")
    try:
        jupyter, _ = running.links()
        copy = clone / "my-notebooks"
        assert f"Notebooks    {copy}" in running.said
        assert "03_virtual_objects.ipynb is as the course has it." in running.said
        kernel = session(jupyter, lab.FIRST)
        shown = run_in(kernel, home, "import os; print(os.environ['JPY_SESSION_NAME'])")
        assert shown == f"{copy / lab.FIRST}\n"
        assert "Restate" in run_in(kernel, home, "import tour\ntour.start(); tour.load('01');")
        run_in(kernel, home, f"!{sys.executable} -m tour export 01 mine")
        address = str(jupyter.join(f"/api/contents/{lab.FIRST}"))
        with httpx.Client(params={"token": jupyter.params["token"]}) as browser:
            browser.headers["authorization"] = f"token {jupyter.params['token']}"
            saved = browser.get(address).json()["content"]
            cell = next(each for each in saved["cells"] if each["cell_type"] == "code")
            cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "ran"}]
            wanted = {"type": "notebook", "content": saved}
            assert browser.put(address, json=wanted).status_code == 200
            checkpoint = browser.post(f"{address}/checkpoints")
            assert checkpoint.status_code == 201
            new = browser.post(str(jupyter.join("/api/contents/")), json={"type": "notebook"})
            assert new.json()["name"] == "Untitled.ipynb"
    finally:
        running.drop()
    made = {path.name for path in copy.iterdir()}
    assert {"mine", "Untitled.ipynb", ".ipynb_checkpoints", lab.FIRST} <= made
    before = (copy / lab.FIRST).read_bytes()
    assert b'"ran"' in before
    assert run_lab(clone, clone).returncode == 0
    assert (copy / lab.FIRST).read_bytes() == before


def test_make_clean_keeps_the_copy(clone: Path) -> None:
    (clone / "my-notebooks").mkdir()
    (clone / "my-notebooks" / "mine.ipynb").write_text("mine")
    shutil.rmtree(clone / ".venv")
    subprocess.run(["make", "clean"], cwd=clone, check=True, stdout=subprocess.DEVNULL)
    assert (clone / "my-notebooks" / "mine.ipynb").read_text() == "mine"
    assert stat.S_ISDIR((clone / "my-notebooks").stat().st_mode)
