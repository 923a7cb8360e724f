"""A notebook in JupyterLab, used by its menus and read from its page."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from playwright.sync_api import Locator, Page, expect

__all__ = ["NotebookPage", "ShownCell"]

SECONDS = 1000  # Playwright counts milliseconds
RUN_SECONDS = 240
HAS_ENDED = """
() => {
    const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')];
    const failed = each => each.closest('.jp-Cell').querySelector('[data-mime-type$=".error"]');
    return prompts.length && (/\\d/.test(prompts.at(-1).textContent) || prompts.some(failed));
}
"""
CELLS = """
cells => cells.map(cell => ({
    prompt: cell.querySelector('.jp-InputPrompt').textContent,
    source: cell.querySelector('.cm-content').textContent,
    wrong: [...cell.querySelectorAll('[data-mime-type$=".error"], [data-mime-type$=".stderr"]')]
        .map(each => each.textContent).join('\\n'),
}))
"""


@dataclass(frozen=True)
class ShownCell:
    """What the page shows of a code cell: its number, its code, its error and its stderr."""

    prompt: str
    source: str
    wrong: str


class Lab(Protocol):
    """A JupyterLab that knows where it shows a notebook."""

    def address(self, notebook: Path) -> str:
        """Return the address of a notebook."""


class NotebookPage:
    """One notebook, opened in a tab of the browser."""

    def __init__(self, page: Page, lab: Lab, path: Path) -> None:
        """Open it at the address that `make lab` has printed, and wait for its kernel."""
        self.page = page
        page.goto(lab.address(path))
        self.notebook = page.locator(".jp-Notebook")
        expect(self.notebook).to_be_visible(timeout=60 * SECONDS)
        # The notebook's own light is green before there is a kernel.
        expect(page.get_by_text("| Idle")).to_be_visible(timeout=60 * SECONDS)

    @property
    def code_cells(self) -> Locator:
        """Every code cell."""
        return self.notebook.locator(".jp-CodeCell")

    @property
    def timelines(self) -> Locator:
        """Every picture of a journal."""
        return self.notebook.locator(".tour-timeline > svg")

    def choose(self, *menus: str) -> None:
        """Click through the menus."""
        bar = self.page.get_by_role("menubar").get_by_role("menuitem", name=menus[0], exact=True)
        bar.click()
        for name in menus[1:]:
            label = self.page.locator(".lm-Menu-itemLabel")
            label.filter(has_text=re.compile(f"^{re.escape(name)}$")).click()

    def clear(self) -> None:
        """Take away the outputs and the numbers that the file has brought along."""
        self.choose("Edit", "Clear Outputs of All Cells")
        assert {cell.prompt for cell in self.cells()} == {"[ ]:"}

    def run_all(self) -> list[ShownCell]:
        """Run All Cells, as far as it comes."""
        self.clear()
        self.choose("Run", "Run All Cells")
        return self._ran()

    def restart_and_run_all(self) -> list[ShownCell]:
        """Restart the kernel and run all cells, as far as it comes."""
        self.clear()
        self.choose("Kernel", "Restart Kernel and Run All Cells…")
        self.page.get_by_role("button", name="Confirm Kernel Restart").click()
        return self._ran()

    def _ran(self) -> list[ShownCell]:
        self.page.wait_for_function(HAS_ENDED, timeout=RUN_SECONDS * SECONDS)
        return self.cells()

    def cells(self) -> list[ShownCell]:
        """Read every code cell from the page."""
        found: list[dict[str, Any]] = self.code_cells.evaluate_all(CELLS)
        return [ShownCell(**each) for each in found]

    def use_theme(self, name: str) -> None:
        """Choose a theme in the settings."""
        self.choose("Settings", "Theme", name)
        expect(self.page.locator(f'body[data-jp-theme-name="{name}"]')).to_be_attached()
        expect(self.page.locator("#jupyterlab-splash")).to_have_count(0)  # it covers the page
