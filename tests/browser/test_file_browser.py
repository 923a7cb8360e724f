"""The lab's file browser at its default width: each name whole, the notebooks first."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.made_lab import MadeLab
from tests.browser.notebook_page import NotebookPage
from tests.browser.test_in_a_browser import THEMES
from tests.helpers.exercise_source import NOTEBOOKS

pytestmark = pytest.mark.timeout(600)

DEFAULT_WIDTH = 250
NAMES = """
texts => texts.map(text => ({name: text.textContent, cut: text.scrollWidth > text.clientWidth}))
"""


@pytest.mark.parametrize("width", [1000, 1600])
def test_names_can_be_told_apart(page: Page, own_lab: MadeLab, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    notebook = NotebookPage(page, own_lab, NOTEBOOKS[0])
    listing = page.locator(".jp-DirListing-content")
    for theme in THEMES.values():
        notebook.use_theme(theme)
        expect(listing).to_be_visible()
        assert listing.evaluate("each => each.clientWidth") <= DEFAULT_WIDTH
        shown = listing.locator(".jp-DirListing-itemText").evaluate_all(NAMES)
        first = [each["name"] for each in shown][: len(NOTEBOOKS)]
        assert first == [path.name for path in NOTEBOOKS]
        assert [each["name"] for each in shown if each["cut"]] == []
