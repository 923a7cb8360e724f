"""What people see before they run anything: on a code host's page, as HTML, in any editor.

`tests/browser/test_untrusted.py` has JupyterLab, which does not trust what it has not run. VS Code
prefers PNG to plain text, shows it in any folder, and takes the plain text as the alternative.
"""

import io
import re
from base64 import b64decode
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter
from nbconvert.filters import markdown2html
from PIL import Image

from tests.helpers.exercise_source import NOTEBOOKS, code_cells, read

SAFE = {"text/plain", "image/png"}  # no page takes anything away of these
AT_MOST = 40_000  # bytes a picture: 23 of them are cloned by everybody
LEGIBLE = 7  # the contrast of text, by WCAG 2.2, level AAA
CORNER = 20  # pixels within which the card's corners are round, and its edge is drawn
LABELS = range(30, 560)  # the columns of a picture that hold the names, and nothing else
# nbconvert's own words for an image without a text; only its template "classic" reads one.
NO_TEXT = "No description has been provided for this image"

# The elements that GitHub allows in what users write, as it has published them in
# lib/html_pipeline/sanitization_filter.rb of github.com/gjtorikian/html-pipeline (at c99d76d).
# The README of github.com/github/markup says what else goes: `class`, `id` and `style`.
ON_GITHUB = """
    h1 h2 h3 h4 h5 h6 br b i strong em a pre code img tt div ins del sup sub p picture ol ul table
    thead tbody tfoot blockquote dl dt dd kbd q samp var hr ruby rt rp li tr td th s strike summary
    details caption figure figcaption abbr bdo cite dfn mark small source span time wbr
"""


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


def outputs(path: Path) -> list[Any]:
    return [output for cell in code_cells(read(path)) for output in cell.outputs]


def pictures(path: Path) -> list[Any]:
    """Return the outputs that show more than text."""
    return [output for output in outputs(path) if set(output.get("data", {})) - {"text/plain"}]


def test_every_picture_is_found() -> None:
    """The tests below say nothing of a picture that they do not find."""
    cells = [cell.source.splitlines()[-1] for p in NOTEBOOKS for cell in code_cells(read(p))]
    shown = sum(".timeline" in last for last in cells)
    assert shown >= 20
    assert sum(len(pictures(path)) for path in NOTEBOOKS) == shown


def test_outputs_are_of_kinds_that_are_safe_everywhere(path: Path) -> None:
    for output in outputs(path):
        assert output.output_type in {"stream", "execute_result", "display_data"}
        assert set(output.get("data", {})) <= SAFE


def test_a_picture_has_its_text_as_the_alternative(path: Path) -> None:
    for output in pictures(path):
        text = output.data["text/plain"]
        assert re.match(r"\S+/.*\S {3,}[a-z-]+\n +(1  |no steps)", text), text
        assert output.metadata["image/png"]["alt"] == text


# ---- the picture itself


def opened(output: Any) -> Image.Image:
    return Image.open(io.BytesIO(b64decode(output.data["image/png"]))).convert("RGBA")


def contrast_on_white(colour: tuple[int, ...]) -> float:
    linear = [((c / 255 + 0.055) / 1.055) ** 2.4 if c > 10 else c / 3294.6 for c in colour[:3]]
    return 1.05 / (0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05)


def lines_of_text(image: Image.Image) -> Iterator[float]:
    """Yield the best contrast of each line of text among the names: where ink is, between gaps."""
    names = image.crop((LABELS.start, CORNER, LABELS.stop, image.height - CORNER))
    best = 0.0
    for y in range(names.height):
        colours = names.crop((0, y, names.width, y + 1)).getcolors() or []
        ink = max(contrast_on_white(colour) for _, colour in colours)  # type: ignore[arg-type]
        if ink < 1.5 and best:
            yield best
        best = max(best, ink) if ink >= 1.5 else 0.0


def test_a_picture_is_small_and_sharp(path: Path) -> None:
    for output in pictures(path):
        assert len(b64decode(output.data["image/png"])) <= AT_MOST
        assert opened(output).width == 2 * output.metadata["image/png"]["width"]


def test_a_picture_is_a_white_card_whatever_is_around_it(path: Path) -> None:
    for output in pictures(path):
        image = opened(output)
        inside = (CORNER, CORNER, image.width - CORNER, image.height - CORNER)
        colours = image.crop(inside).getcolors(maxcolors=1000)
        assert colours
        assert len(colours) > 10, "it is blank"
        assert max(colours)[1] == (255, 255, 255, 255)
        assert all(alpha == 255 for _, (*_, alpha) in colours)  # type: ignore[misc]


def test_a_picture_names_every_step_in_ink_that_can_be_read(path: Path) -> None:
    for output in pictures(path):
        steps = re.findall(r"^ +\d+  \S", output.data["text/plain"], re.MULTILINE)
        lines = list(lines_of_text(opened(output)))
        assert len(lines) == 1 + len(steps) + 1, "the agent's name, the steps', the caption"
        assert min(lines) >= LEGIBLE


# ---- as HTML


class Elements(HTMLParser):
    """The names of all elements of a piece of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.names.add(tag)


def test_github_allows_every_element(path: Path) -> None:
    notebook = read(path)
    shown = [output.data["text/html"] for output in pictures(path) if "text/html" in output.data]
    shown += [markdown2html(c.source) for c in notebook.cells if c.cell_type == "markdown"]
    assert len(shown) > 20
    assert Elements("".join(shown)).names <= set(ON_GITHUB.split())


@cache
def exporter(template: str, sanitize: bool) -> HTMLExporter:
    """Return what makes HTML of a notebook; to colour its code takes half of the time."""
    made = HTMLExporter(  # type: ignore[no-untyped-call]
        template_name=template, sanitize_html=sanitize, exclude_input=True
    )
    assert isinstance(made, HTMLExporter)
    return made


def page(path: Path, template: str, sanitize: bool) -> BeautifulSoup:
    html, _ = exporter(template, sanitize).from_notebook_node(read(path))
    return BeautifulSoup(html, "html.parser")


def words(text: str) -> str:
    return " ".join(re.sub(r"\x1b\[[\d;]*m", "", text).split())


def is_picture(output: Any) -> bool:
    return "image/png" in output.get("data", {}) or "text/html" in output.get("data", {})


@pytest.mark.parametrize("sanitize", [False, True], ids=["as it is", "sanitized"])
def test_as_html_a_picture_is_an_image_and_leaves_no_words(path: Path, sanitize: bool) -> None:
    found, html = 0, page(path, "lab", sanitize)
    shown = {each["id"]: each for each in html.select(".jp-CodeCell")}
    for cell in code_cells(read(path)):
        areas = shown[f"cell-id={cell.id}"].select(".jp-OutputArea-output")
        assert len(areas) == len(cell.outputs)
        for area, output in zip(areas, cell.outputs, strict=True):
            images = area.select('img[alt][src^="data:image/png;base64,"]')
            if is_picture(output):
                found += 1
                assert [words(area.text), len(images)] == ["", 1]
                assert not area.select("svg, a, p, style")
                assert images[0]["alt"] in {output.data["text/plain"], NO_TEXT}
            else:
                assert words(area.text) == words(output.get("text") or output.data["text/plain"])
    assert found == len(pictures(path))


def test_as_html_a_picture_has_its_text_where_the_template_reads_it(path: Path) -> None:
    images = page(path, "classic", True).select('img[src^="data:image/png;base64,"]')
    assert [image["alt"] for image in images] == [o.data["text/plain"] for o in pictures(path)]
