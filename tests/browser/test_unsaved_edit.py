"""An edit that JupyterLab has run and not saved: whoever reads the notebook's agent is told."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.made_lab import MadeLab
from tests.browser.notebook_page import SECONDS, NotebookPage
from tests.helpers.exercise_source import NOTEBOOKS

pytestmark = pytest.mark.timeout(600)

TOOL = "async def fetch_weather(city: str)"
SAID = re.compile(
    r"Read from .*/01_durable_execution\.ipynb, saved at .* ran with different code\."
)


def test_load_says_which_file_it_reads(page: Page, own_lab: MadeLab) -> None:
    notebook = NotebookPage(page, own_lab, NOTEBOOKS[0])
    start, tool = notebook.code_cells.first, notebook.code_cells.filter(has_text=TOOL).first
    start.locator(".cm-content").click()
    page.keyboard.press("Shift+Enter")
    expect(start.locator(".jp-OutputArea")).to_contain_text("Model:", timeout=60 * SECONDS)
    tool.locator(".cm-content").click()
    page.keyboard.press("Control+End")
    page.keyboard.type("\n# mine")
    page.keyboard.press("Control+Enter")
    page.keyboard.press("Escape")
    page.keyboard.press("b")
    page.keyboard.press("Enter")
    page.keyboard.type("tour.load('01').MODEL")
    page.keyboard.press("Control+Enter")
    loads = notebook.code_cells.filter(has_text="tour.load('01').MODEL")
    expect(loads.locator(".jp-OutputArea")).to_contain_text(SAID, timeout=60 * SECONDS)
    page.keyboard.press("Control+s")
    expect(page.locator(".jp-mod-dirty")).to_have_count(0)
    page.keyboard.press("Control+Enter")
    expect(loads.locator(".jp-OutputArea")).not_to_contain_text("Read from")
    expect(loads.locator(".jp-OutputArea")).to_contain_text("gpt")
