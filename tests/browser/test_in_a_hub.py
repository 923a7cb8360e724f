"""The Restate UI as people on Binder see it: through the lab, whose port is the only one in reach.

The hub itself is not there. What it gives to a lab is: a path below it, and the name of that path.
"""

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.browser.made_lab import MadeLab
from tests.browser.notebook_page import SECONDS, NotebookPage
from tests.browser.test_in_a_browser import FIRST, assert_all_ran, shades

pytestmark = pytest.mark.timeout(600)


def test_a_journal_leads_to_the_ui_through_the_lab(
    page: Page, lab_in_a_hub: MadeLab, tmp_path: Path
) -> None:
    asked: set[str] = set()
    page.context.on("request", lambda request: asked.add(urlsplit(request.url).netloc))
    notebook = NotebookPage(page, lab_in_a_hub, FIRST)
    assert_all_ran(notebook.run_all())
    with page.context.expect_page() as opened:
        notebook.notebook.locator(".tour-timeline a").last.click()
    ui = opened.value
    expect(ui.get_by_text("get weather").first).to_be_visible(timeout=60 * SECONDS)
    assert urlsplit(ui.url).path.startswith("/user/me/restate/ui/invocations/inv_")
    ui.screenshot(path=tmp_path / "ui.png")
    assert shades(tmp_path / "ui.png") > 20
    assert asked == {urlsplit(lab_in_a_hub.jupyter).netloc}
