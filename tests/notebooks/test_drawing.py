"""The names in a journal's picture: whole where there is room, and never beyond it."""

import re
from datetime import UTC, datetime
from xml.etree import ElementTree

import pytest

from tests.helpers.exercise_source import NOTEBOOKS, code_cells, read
from tour.journal import Journal, Step, svg

NOW = datetime.now(UTC)
WIDEST = 9.2  # pixels a letter, in a wide font that is bold: DejaVu Sans at 13 px
SVG = "{http://www.w3.org/2000/svg}"


def labels(name: str, deep: int = 0) -> list[ElementTree.Element]:
    """Draw an agent of this name with a step of this name; return their names in the picture."""
    shown = Journal(
        "inv_1", name, "completed", NOW, NOW, (Step("run", name, "completed", NOW, NOW),)
    )
    for _ in range(deep):
        call = Step("call", shown.target, "completed", NOW, NOW, child=shown)
        shown = Journal("inv_1", "A/run", "completed", NOW, NOW, (call,))
    texts = ElementTree.fromstring(svg(shown)).iter(f"{SVG}text")
    return [text for text in texts if text.get("text-anchor") is None][-2:]


def names_in_the_course() -> list[str]:
    """Return the names of every agent and step whose picture is in a notebook."""
    outputs = [o for p in NOTEBOOKS for cell in code_cells(read(p)) for o in cell.outputs]
    texts = [o.data["text/plain"] for o in outputs if "image/png" in o.get("data", {})]
    lines = [line for text in texts for line in text.splitlines() if "try " not in line]
    return sorted({re.split(r" {2,}", re.sub(r"^ *(\d+ +)?", "", line))[0] for line in lines})


def test_no_name_of_the_course_is_cut() -> None:
    names = names_in_the_course()
    assert len(names) > 40
    assert "HumanClaimApprovalWithTimeoutAgent/run" in names
    assert [labels(name)[0].text for name in names] == names


@pytest.mark.parametrize("deep", [0, 3, 20])
@pytest.mark.parametrize("length", [1, 20, 26, 27, 30, 38, 39, 60, 500])
def test_a_name_of_any_length_ends_before_the_bars(length: int, deep: int) -> None:
    clipped = re.search(r'-labels"><rect width="(\d+)"', svg(Journal("i", "A/b", "ok", NOW, NOW)))
    assert clipped
    for label in labels("n" * length, deep):
        text = label.text or ""
        width = float(label.get("textLength", WIDEST * len(text)))
        assert float(label.attrib["x"]) + width <= float(clipped[1])
        assert (text == "n" * length) == ("…" not in text)
        assert width >= 6.5 * len(text), "the letters would be too narrow to be read"
