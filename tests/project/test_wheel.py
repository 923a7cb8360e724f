"""The wheel: in an environment of its own, with no checkout in reach, the whole course works."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tests.helpers.labs import Lab, run_in, session
from tests.helpers.programs import output
from tour import lab
from tour.asgi import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

CELLS = 10  # of notebook 1: as far as its first agent
KERNEL = """
import json, pathlib, sys, tour
cells = json.loads(pathlib.Path("FIRST").read_text())["cells"][:CELLS]
for cell in cells:
    if cell["cell_type"] == "code":
        get_ipython().run_cell("".join(cell["source"])).raise_error()
tour.hint("1.1")
tour.solution("1.1")
agent = tour.load("01")
endpoint = tour.serve(agent.weather)
print((await tour.call(agent.run, agent.WeatherPrompt())).result)
print("FROM", tour.__file__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build it from a clone in which somebody has worked, and which then goes."""
    folder = tmp_path_factory.mktemp("wheel")
    clone = folder / "clone"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    for junk in (
        "my-notebooks/01.ipynb",
        "notebooks/.ipynb_checkpoints/01-checkpoint.ipynb",
        "notebooks/__pycache__/model_call.cpython-311.pyc",
        "tour/lab/__pycache__/lab.cpython-311.pyc",
        "tour/.ipynb_checkpoints/lab-checkpoint.py",
    ):
        (clone / junk).parent.mkdir(parents=True, exist_ok=True)
        (clone / junk).write_text("{}")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-build-isolation", "--no-deps"]
    subprocess.run([*command, f"--wheel-dir={folder}", str(clone)], check=True)
    shutil.rmtree(clone)
    [wheel] = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel; the other packages are those of this one, the course apart.

    A folder that a .pth file names is searched, but no .pth file in it is read: the one that leads
    to this checkout does nothing there.
    """
    folder = tmp_path_factory.mktemp("elsewhere") / "environment"
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    install = ["pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([sys.executable, "-m", *install, str(wheel)], check=True)
    [packages] = folder.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    for each in ("share", "etc"):  # JupyterLab's pages and the kernel's description
        (folder / each).symlink_to(Path(sys.prefix) / each)
    code = (
        "import sys, tour, tour.home as h; print(*sys.path, tour.__file__, h.course(), sep='\\n')"
    )
    found = subprocess.run(
        [python, "-c", code], cwd=folder, env=clean(), check=True, capture_output=True, text=True
    )
    *path, file, course = found.stdout.splitlines()
    assert str(ROOT) not in path
    assert Path(file) == packages / "tour" / "__init__.py"
    assert Path(course) == packages / "tour" / "notebooks"
    return folder


def clean(**more: str) -> dict[str, str]:
    """Return the environment of somebody who has set nothing but a server."""
    foreign = ("RESTATE_", "OPENAI_", "PIP_", "PYTHON", "VIRTUAL", "TOUR_", "JUPYTER", "JPY_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return kept | {"RESTATE_SERVER": os.environ["RESTATE_SERVER"]} | more


class WheelLab(Lab):
    """A `tour lab` of the installed wheel."""

    def __init__(self, tour: Path, home: Path, at: Path, *arguments: str) -> None:
        self.home, self.env, self.said = home, clean(TOUR_HOME=str(home)), []
        options = (f"--port={free_port()}", "--no-browser")
        self.process = subprocess.Popen(
            [tour, "lab", *arguments, *options],
            cwd=at,
            env=self.env | {"PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def test_it_contains_the_course_and_nothing_of_whoever_built_it(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    inside = {name for name in names if ".dist-info/" not in name}
    tracked = subprocess.run(
        ["git", "ls-files", "tour", "notebooks"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    files = {re.sub("^notebooks/", "tour/notebooks/", name) for name in tracked.stdout.split()}
    assert inside == files
    assert {"tour/server/npm/.npmrc", "tour/server/npm/node.lock"} <= inside
    assert "tour/notebooks/solutions/10.2.py" in inside


def test_it_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        [about] = [name for name in opened.namelist() if name.endswith("METADATA")]
        said = message_from_string(opened.read(about).decode())
    assert (said["Name"], said["License-Expression"]) == ("tour-of-durable-agents", "MIT")
    assert said["License-File"] == "LICENSE"
    assert said["Requires-Python"] == "<3.15,>=3.11"
    assert said["Description-Content-Type"] == "text/markdown"
    assert "# A tour of durable AI agents" in said.get_payload()
    assert "file:" not in str(said)
    assert str(ROOT) not in str(said)


def test_this_checkout_is_found_by_its_own_environment(tmp_path: Path) -> None:
    code = "import os; os.chdir('/'); from tour.home import course; print(course())"
    assert output(code).strip() == str(ROOT / "notebooks")


def test_its_commands_work_anywhere(installed: Path, tmp_path: Path) -> None:
    def tour(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [installed / "bin" / "tour", *arguments],
            cwd=tmp_path,
            env=clean(TOUR_HOME=str(tmp_path / "home")),
            capture_output=True,
            text=True,
            check=False,
        )

    doctor = tour("doctor")
    assert doctor.returncode == 0, doctor.stdout
    assert "problem" not in doctor.stdout
    for number in ("01", "10"):
        ran = tour("export", number, f"agent {number}")
        assert (ran.returncode, ran.stderr) == (0, "")
        assert (tmp_path / f"agent {number}" / "agent.py").exists()
    ran = tour("lab", "--fresh", "77")
    assert ran.returncode == 1
    assert len(ran.stderr.splitlines()) == 1
    ran = tour("lab", str(installed / "lib"), "--fresh", "x")
    assert ran.returncode == 1


@pytest.mark.parametrize("named", [[], ["my own"]], ids=["unnamed", "named"])
def test_its_lab_opens_a_copy_and_a_kernel_runs_notebook_1(
    installed: Path, tmp_path: Path, named: list[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "home").mkdir(mode=0o700)
    running = WheelLab(installed / "bin" / "tour", tmp_path / "home", tmp_path / "empty", *named)
    try:
        jupyter, _ = running.links()
        copy = tmp_path / "empty" / (named or ["my-notebooks"])[0]
        assert f"Notebooks    {copy}" in running.said
        assert (copy / lab.FIRST).exists()
        assert not (copy / "solutions").exists()
        kernel = session(jupyter, lab.FIRST)
        code = KERNEL.replace("FIRST", lab.FIRST).replace("CELLS", str(CELLS))
        shown = run_in(kernel, running.home, code)
    finally:
        running.drop()
    assert f"FROM {installed}/lib/" in shown
    assert "San Francisco: 23 °C, sunny" in shown
    solution = (ROOT / "notebooks" / "solutions" / "01.1.py").read_text()
    assert solution.splitlines()[-1] in shown
    assert [path.name for path in (tmp_path / "empty").iterdir()] == [copy.name]
