"""The course as people see it: `make lab` in a real browser, in both themes, to the last cell."""

from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.made_lab import MadeLab
from tests.browser.notebook_page import SECONDS, NotebookPage, ShownCell
from tests.helpers import ROOT
from tests.helpers.exercise_source import NOTEBOOKS, code_cells, read

pytestmark = pytest.mark.timeout(600)

FIRST = NOTEBOOKS[0]
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
LEGIBLE = 4.5  # the contrast of text, by WCAG 2.2, level AA
LEAST_CONTRAST = """
svg => {
    const parse = colour => {
        const [r, g, b, a = 1] = colour.match(/[\\d.]+/g).map(Number);
        return {rgb: [r, g, b], a};
    };
    const over = (top, a, below) => top.map((c, i) => c * a + below[i] * (1 - a));
    const luminance = rgb => {
        const [r, g, b] = rgb.map(c => c / 255)
            .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const parents = [];
    for (let each = svg; each; each = each.parentElement) parents.push(each);
    const solid = parents.map(each => parse(getComputedStyle(each).backgroundColor))
        .find(colour => colour.a === 1);
    const contrasts = [...svg.querySelectorAll('text')].map(text => {
        const fill = parse(getComputedStyle(text).fill);
        let opacity = fill.a * getComputedStyle(text).fillOpacity;
        for (let each = text; each; each = each.parentElement)
            opacity *= getComputedStyle(each).opacity;
        const [low, high] = [over(fill.rgb, opacity, solid.rgb), solid.rgb]
            .map(luminance).sort((one, two) => one - two);
        return (high + 0.05) / (low + 0.05);
    });
    return Math.min(...contrasts);
}
"""


def assert_all_ran(cells: list[ShownCell], path: Path = FIRST) -> None:
    assert len(cells) == len(code_cells(read(path)))
    assert {cell.source: cell.wrong for cell in cells if cell.wrong} == {}
    assert [cell.source for cell in cells if not cell.prompt.strip("[]: ").isdigit()] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_run_all_runs_to_the_last_cell(page: Page, shared_lab: MadeLab, path: Path) -> None:
    assert_all_ran(NotebookPage(page, shared_lab, path).run_all(), path)


def test_restart_and_run_all_runs_to_the_last_cell(page: Page, shared_lab: MadeLab) -> None:
    notebook = NotebookPage(page, shared_lab, FIRST)
    assert_all_ran(notebook.restart_and_run_all())
    assert_all_ran(notebook.restart_and_run_all())


def test_a_journal_is_a_picture_in_both_themes_and_leads_to_the_ui(
    page: Page, own_lab: MadeLab, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    writing = request.config.getoption("--write-pictures")
    pictures = ROOT / "docs" if writing else tmp_path
    notebook = NotebookPage(page, own_lab, FIRST)
    assert_all_ran(notebook.run_all())
    timeline = notebook.timelines.last
    for name, theme in THEMES.items():
        notebook.use_theme(theme)
        timeline.scroll_into_view_if_needed()
        expect(timeline).to_be_visible()
        assert timeline.evaluate(LEAST_CONTRAST) >= LEGIBLE, theme
        assert shades(photograph(notebook, pictures / f"lab-{name}.png")) > 20
    notebook.use_theme(THEMES["light"])
    with page.context.expect_page() as opened:
        notebook.notebook.locator(".tour-timeline a").last.click()
    ui = opened.value
    expect(ui.get_by_text("get weather").first).to_be_visible(timeout=60 * SECONDS)
    assert ui.url.startswith(f"{own_lab.restate_ui}/ui/invocations/inv_")
    ui.screenshot(path=pictures / "restate-ui.png")
    assert shades(pictures / "restate-ui.png") > 20


def photograph(notebook: NotebookPage, to: Path) -> Path:
    """Take a picture of the last journal, with its cell and what is around it."""
    notebook.page.screenshot(path=to)
    return to


def shades(picture: Path) -> int:
    """Return how many colours a picture has, up to a thousand; a blank one has one."""
    with Image.open(picture) as image:
        colours = image.convert("RGB").getcolors(maxcolors=2**24)
    return min(len(colours or ()), 1000)
