"""`tour/` is a few rooms with one door each; and each check of that finds what it looks for."""

import ast

import pytest

from tests import helpers
from tests.project.house import LEARNERS, ORDER, House, Source, cells, files, report

HOUSE = House.of(files("tour/**/*.py"))
INSIDE = [*HOUSE.modules.values()]
PROVING = files("conftest.py", "tests/**/*.py", "benchmarks/**/*.py")
TESTS = [source for source in PROVING if not source.where.endswith("test_house.py")]
LEARNED = cells()  # the notebooks, the solutions, and what lies beside them
OWN_LINES = 3_600


def where(source: Source) -> str:
    return source.where


def test_each_folder_is_a_room_with_a_door() -> None:
    assert set(HOUSE.rooms) <= set(ORDER)
    for module, source in HOUSE.modules.items():
        if source.where.endswith("__init__.py"):
            said = ast.get_docstring(ast.parse(source.code)) or ""
            assert 1 <= len(said.splitlines()) <= 5, f"{source.where}: say what the room is for"
            assert HOUSE.door(HOUSE.room(module)), f"{source.where}: export what others may use"
        assert module.rpartition(".")[0] in {"", *HOUSE.modules}, f"{source.where} is in no room"


@pytest.mark.parametrize("source", [*INSIDE, *TESTS], ids=where)
def test_nobody_reaches_past_a_door(source: Source) -> None:
    assert not [*HOUSE.past_doors(source)]


@pytest.mark.parametrize("source", INSIDE, ids=where)
def test_a_room_imports_only_from_rooms_below_it(source: Source) -> None:
    assert not [*HOUSE.upward(source), *HOUSE.unwanted(source)]


def test_there_is_no_circle() -> None:
    assert not HOUSE.cycle()
    assert not HOUSE.cycle(rooms=False)


def test_files_and_functions_are_short() -> None:
    assert not {source.where for source in INSIDE if source.lines > 300}
    assert not [name for lines, name in HOUSE.functions() if lines > 40]


def test_what_is_special_here_is_read_in_one_sitting() -> None:
    assert HOUSE.lines("journal", "endpoint", "invocation") <= 2_000


@pytest.mark.xfail(strict=True, reason=f"what is not ours to write goes, down to {OWN_LINES} lines")
def test_the_package_is_small() -> None:
    assert HOUSE.lines(*(set(ORDER) - {"model", "exercises"})) <= OWN_LINES


def test_notebooks_and_solutions_use_the_learner_s_surface_alone() -> None:
    assert len(LEARNED) > 500
    assert not [said for source in LEARNED for said in HOUSE.not_a_learners(source)]
    used = {use.path for source in LEARNED for use in HOUSE.uses(source)}
    assert {"tour.start", "tour.serve", "tour.call", "tour.server.admin"} <= used
    assert set(LEARNERS) <= set(HOUSE.door("server"))


def test_the_report_has_every_room() -> None:
    said = report(HOUSE)
    assert all(f"\n{room}" in said for room in HOUSE.rooms)


def test_the_helpers_help_names_every_helper() -> None:
    for source in files("tests/helpers/[a-z]*.py"):
        assert f"- `{source.where.split('/')[-1].removesuffix('.py')}" in str(helpers.__doc__)


# ---- that the checks find what they look for, in a small house


def small_house(**more: str) -> House:
    """Two rooms: `journal` exports `read` and the module `svg`, `home` exports `folder`."""
    code = {
        "tour": 'from tour.journal import read\n__all__ = ["journal", "read"]',
        "tour.home": '__all__ = ["folder"]\ndef folder(): ...',
        "tour.journal": "from tour.journal import svg\nfrom tour.journal.records import read\n"
        '__all__ = ["read"]\n__all__ += ["svg"]',
        "tour.journal.records": "from tour.home import folder\ndef read(): ...",
        "tour.journal.svg": "",
    }
    for name, added in more.items():
        module = name.replace("_", ".")
        code[module] = f"{code.get(module, '')}\n{added}"
    doors = ("tour", "tour.journal")
    names = {name: f"{name.replace('.', '/')}{'/__init__' * (name in doors)}.py" for name in code}
    return House.of(Source(names[name], code[name], name) for name in code)


@pytest.mark.parametrize(
    "code",
    [
        "from tour.journal.records import read",
        "from tour.journal import records",
        "import tour.journal.records",
        "import tour\ntour.journal.records.read()",
        "from tour import journal\ndef f():\n    return journal.records.read()",
        "import tour as t\nt.journal.records",
        "def lazily():\n    from tour.journal.records import read",
        "from tour.home import os",
        "from tour import nothing",
        "import tour\ntour.nothing()",
        "from tour.journal import *",
        "PROGRAM = '''\n    import os\n    from tour.journal.records import read\n'''",
        "begin('import tour; tour.start(); tour.journal.records.read()')",
        "begin(f'from tour.journal import read, records; print({x})')",
    ],
)
def test_a_way_past_a_door_is_found(code: str) -> None:
    house = small_house(tour="import tour.home\n")
    [said, *_] = house.past_doors(Source("tests/x.py", code))
    assert "is behind the door of" in said


@pytest.mark.parametrize(
    "code",
    [
        "from tour.journal import read, svg",
        "from tour import journal, home, read\njournal.read, journal.svg.anything, home.folder",
        "import tour\ntour.read().anything\ntour.journal.read\ntour.__file__",
        "from tour import journal\ndef f(journal):\n    return journal.records",
        "patch.setattr('tour.journal.records.read', None)",
        "'''It is as tour.journal.records says: import tour, and read.'''",
    ],
)
def test_the_doors_are_open(code: str) -> None:
    assert not [*small_house().past_doors(Source("tests/x.py", code))]


def test_inside_a_room_its_modules_know_each_other() -> None:
    house = small_house(tour_journal_svg="from tour.journal.records import read, _secret")
    house.modules["tour.other"] = Source(
        "tour/other.py", "from .journal import records", "tour.other"
    )
    assert [bool([*house.past_doors(each)]) for each in house.modules.values()] == [False] * 5 + [
        True
    ]


@pytest.mark.parametrize(
    "code",
    [
        "from tour.journal import read",
        "from tour import journal",
        "import tour.journal",
        "def lazily():\n    from tour.journal import read",
        "if TYPE_CHECKING:\n    from .journal import read",
        "from tour import read",
        "import tour",
    ],
)
def test_an_import_from_above_is_found(code: str) -> None:
    house = small_house(tour_home=code)
    [said] = house.upward(house.modules["tour.home"])
    assert said.startswith("tour/home.py:")
    assert not [*house.upward(house.modules["tour.journal.records"])]


@pytest.mark.parametrize(
    ("room", "code"),
    [
        ("model", "import restate"),
        ("model", "def lazily():\n    from restate.server import app"),
        ("model", "from tour import server"),
        ("model", "from tour.server import find"),
        ("journal", "from tour.endpoint import serve"),
        ("journal", "from tour import invocation"),
        ("export", "import nbformat"),
        ("invocation", "def lazily():\n    import jupyter_client.manager"),
        ("server", "from jupyterlab import labapp"),
    ],
)
def test_what_a_room_must_not_know_is_found(room: str, code: str) -> None:
    house = small_house(**{f"tour_{room}": code})
    assert [*house.unwanted(house.modules[f"tour.{room}"])]


def test_what_only_begins_like_it_is_no_such_package() -> None:
    house = small_house(tour_lab="import jupyterlab", tour_model="import restate_x, nbformats")
    assert not [said for source in house.modules.values() for said in house.unwanted(source)]


def test_a_circle_is_found() -> None:
    assert not small_house().cycle()
    assert not small_house().cycle(rooms=False)
    lazy = "def lazily():\n    from tour.journal import read"
    assert {"home", "journal"} <= set(small_house(tour_home=lazy).cycle())
    inside = small_house(
        tour_journal_svg="from tour.journal.records import read",
        tour_journal_records="from tour.journal import svg",
    )
    assert not inside.cycle()
    assert {"tour.journal.svg", "tour.journal.records"} <= set(inside.cycle(rooms=False))
    typed = small_house(
        tour_journal_svg="from tour.journal.records import read",
        tour_journal_records="if TYPE_CHECKING:\n    from tour.journal import svg",
    )
    assert not typed.cycle(rooms=False)


def test_lengths_are_counted() -> None:
    house = small_house(
        tour_home="@decorated\n@twice\nasync def long():\n    '''Said.'''\n    return (\n    1)"
    )
    assert (4, "tour.home.long") in house.functions()
    assert house.lines("home") == 8
    assert house.lines("journal") == 6


@pytest.mark.parametrize(
    "code",
    [
        "from tour.journal import x",
        "from tour.journal import read",
        "import tour.journal",
        "import tour\ntour.home.folder()",
        "tour.nothing()",
        "tour.server.down()",
        "from tour import server\nserver.ensure()",
        "kernel.run('import tour; tour.server.down()')",
        "said = !curl {tour.server.ports}/x",
        "!curl {tour.server.ports}/x",
        "text = f'{tour.server.pid()}'",
    ],
)
def test_what_is_not_for_learners_is_found(code: str) -> None:
    house = small_house(tour='__all__ += ["server"]')
    assert [*house.not_a_learners(Source("01, cell 7", code, goes_on=True))]


def test_the_learner_s_surface_is_theirs() -> None:
    house = small_house(tour='__all__ += ["server"]')
    code = "import tour\nawait tour.read()\ntour.server.query(x).y\n!curl {tour.server.admin}/{x}"
    assert not [*house.not_a_learners(Source("01, cell 7", code, goes_on=True))]
