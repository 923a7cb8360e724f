"""`tour.check`, `tour.hint` and `tour.solution`: the numbers they take, and what they show."""

import ast
from pathlib import Path

import pytest

import tour
from tests.helpers.exercise_source import FOLDER, stub
from tour.exercises import EXERCISES, Verdict

SOLUTIONS = sorted((FOLDER / "solutions").glob("*.py"))


@pytest.fixture(autouse=True)
def _no_hint_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tour.exercises.judging._hints", {})


def test_every_exercise_has_a_solution() -> None:
    assert [path.stem for path in SOLUTIONS] == sorted(EXERCISES)


@pytest.mark.parametrize("number", ["1.1", "01.1", " 1.1 "])
def test_a_number_may_be_written_as_in_the_heading(number: str) -> None:
    assert isinstance(tour.check(number), Verdict)
    assert repr(tour.check(number)) == repr(tour.check("01.1"))
    tour.hint(number)
    tour.solution(number)


@pytest.mark.parametrize("number", ["1.3", "11.1", "1", "", "1.1.1", "one", "001.1", "1.01"])
def test_an_unknown_number_is_one_sentence_with_those_that_exist(number: str) -> None:
    for ask in (tour.check, tour.hint, tour.solution):
        with pytest.raises(tour.TourError, match=r"There is no exercise .*\. There are: 01\.1, "):
            ask(number)


def test_the_solution_comes_after_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(tour.TourError, match=r'Have a hint first: tour\.hint\("1\.1"\)'):
        tour.solution("1.1")
    tour.hint("01.1")
    capsys.readouterr()
    tour.solution("1.1")
    shown = capsys.readouterr().out
    assert 'ctx.run_typed("get weather", fetch_weather, city=city)' in shown
    with pytest.raises(tour.TourError, match="Have a hint first"):
        tour.solution("1.2")


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_a_solution_is_shown_whole_and_without_the_stub(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tour.hint(path.stem)
    capsys.readouterr()
    tour.solution(path.stem)
    shown = capsys.readouterr().out
    assert not [line for line in shown.splitlines() if line.strip() in ("# stub:", "# end")]
    assert "TODO" not in shown
    source = path.read_text(encoding="utf-8")
    assert ast.dump(ast.parse(shown)) == ast.dump(ast.parse(source))
    assert ast.dump(ast.parse(shown)) != ast.dump(ast.parse(stub(source)))
