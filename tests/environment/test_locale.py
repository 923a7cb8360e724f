"""A locale that is not UTF-8: every command prints what it can, and files are UTF-8."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.environments import environment, lab, tour
from tests.helpers.labs import run_in

pytestmark = pytest.mark.timeout(120)

LOCALES = {
    "C": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "latin": {"PYTHONIOENCODING": "iso-8859-1", "PYTHONUTF8": "0", "LANG": "en_US"},
}


@pytest.mark.parametrize(
    "name", ["C", *(pytest.param(n, marks=pytest.mark.slow) for n in ("ascii", "latin"))]
)
def test_every_command_prints_what_it_can(tmp_path: Path, name: str) -> None:
    home, locale = tmp_path / "höme", LOCALES[name]
    for command in ("doctor",) if name == "C" else ("up", "doctor", "down"):
        ran = tour(command, home=home, **locale)
        assert ran.returncode == 0, ran.stdout
        assert "Traceback" not in ran.stdout
    wrong = tour("up", home=home, RESTATE_SERVER="/no/sérver", **locale)
    assert wrong.returncode == 1
    assert "is not a program. Correct it, or unset it." in wrong.stdout


@pytest.mark.slow
def test_an_export_is_the_same_in_any_locale(tmp_path: Path) -> None:
    written = {}
    for name, locale in {"here": {}, **LOCALES}.items():
        folder = tmp_path / name
        ran = tour("export", "01", str(folder), home=tmp_path, **locale)
        assert ran.returncode == 0, ran.stdout
        files = [path for path in folder.rglob("*") if path.is_file()]
        written[name] = {path.relative_to(folder): path.read_bytes() for path in files}
    assert written["here"]
    assert all(files == written["here"] for files in written.values())


@pytest.mark.slow
def test_the_lab_and_a_kernel_of_it_print_what_they_can(tmp_path: Path) -> None:
    home = tmp_path / "höme"
    home.mkdir()
    with lab(home, before=[], **LOCALES["C"], PYTHONIOENCODING="ascii") as opened:
        assert opened.said[0] == "Starting JupyterLab ?"
        code = "import tour\ntour.start()\nprint('…', len(tour.source('01')) > 100)"
        assert run_in(opened.kernel(), home, code).splitlines()[-1] == "… True"


def test_the_installation_prints_what_it_can(tmp_path: Path) -> None:
    if not shutil.which("npm"):
        pytest.skip("no npm on this machine")
    home = tmp_path / "home"
    nowhere = {"npm_config_registry": "http://127.0.0.1:9", "npm_config_fetch_retries": "0"}
    env = LOCALES["C"] | nowhere | {"RESTATE_SERVER": "", "PYTHONIOENCODING": "ascii"}
    ran = tour("install", home=home, **env)
    assert "220 MB here) ?" in ran.stdout
    assert "could not be installed" in ran.stdout


@pytest.mark.slow
def test_no_file_is_read_or_written_in_the_locale_s_encoding(tmp_path: Path) -> None:
    """Python warns of each that is, where it is asked to."""
    env = environment(
        TOUR_HOME=str(tmp_path), PYTHONWARNDEFAULTENCODING="1", PYTHONWARNINGS="default"
    )
    code = (
        "import tour, sys\nfrom tour import lab\nfrom pathlib import Path\n"
        "tour.start()\ntour.server.kill()\ntour.server.query('select 1')\ntour.server.down()\n"
        "list(lab.refresh(Path(sys.argv[1]) / 'copy', []))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, tmp_path], env=env, capture_output=True, text=True, check=True
    )
    warned = [line for line in ran.stderr.splitlines() if "EncodingWarning" in line]
    assert [line for line in warned if f"{os.sep}tour{os.sep}" in line] == []
