"""Notebooks as JupyterLab shows them before anything was run: it trusts nothing in the file."""

import json
import os
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page

from tests.browser.made_lab import SETTINGS
from tests.browser.notebook_page import NotebookPage
from tests.browser.test_in_a_browser import THEMES, shades
from tests.helpers import ROOT
from tests.helpers.exercise_source import FOLDER, NOTEBOOKS, code_cells, read
from tour.asgi import free_port

pytestmark = pytest.mark.timeout(300)

TOKEN = secrets.token_hex()
TRUSTED = """
() => jupyterapp.shell.currentWidget.content.widgets
    .filter(cell => cell.model.outputs?.length && cell.model.trusted).length
"""
OUTPUTS = """
cells => cells.map(cell => [...cell.querySelectorAll('.jp-OutputArea-output')].map(output => ({
    words: output.textContent,
    drawn: output.querySelectorAll('svg, a').length,
    images: [...output.querySelectorAll('img')].map(image => ({
        png: image.src.startsWith('data:image/png;base64,'),
        pixels: image.naturalWidth * image.naturalHeight,
        seen: image.checkVisibility({opacityProperty: true, visibilityProperty: true}),
        width: image.getBoundingClientRect().width,
        room: output.getBoundingClientRect().width,
    })),
})))
"""
# What the lab's own sanitizer changes: of each text cell, and of each output that is HTML.
CHANGED = """
async () => {
    const {rendermime, widgets} = jupyterapp.shell.currentWidget.content;
    const shape = html => {
        const {body} = new DOMParser().parseFromString(html, 'text/html');
        const named = element =>
            [element.tagName, element.getAttribute('href'), element.getAttribute('src')];
        return JSON.stringify([[...body.querySelectorAll('*')].map(named), body.textContent]);
    };
    const changed = [];
    let seen = 0;
    for (const {model} of widgets) {
        const outputs = model.outputs ? [...Array(model.outputs.length).keys()] : [];
        const shown = model.type === 'markdown'
            ? [await rendermime.markdownParser.render(model.sharedModel.source)]
            : outputs.map(n => model.outputs.get(n).data['text/html']).filter(html => html);
        for (const html of shown) {
            seen += 1;
            if (shape(html) !== shape(rendermime.sanitizer.sanitize(html))) changed.push(html);
        }
    }
    return [seen, changed];
}
"""


class PlainLab:
    """A JupyterLab of somebody who has cloned the course, and knows of no `make lab`.

    It lets the tests ask it what it trusts, and use its sanitizer.
    """

    def __init__(self, home: Path) -> None:
        """Start it on a copy of the notebooks; whatever Jupyter keeps, it keeps in this folder."""
        shutil.copytree(FOLDER, home / "notebooks")
        for plugin, settings in SETTINGS.items():
            file = home / f"config/lab/user-settings/@jupyterlab/{plugin}.jupyterlab-settings"
            file.parent.mkdir(parents=True)
            file.write_text(json.dumps(settings))
        kept = {name: value for name, value in os.environ.items() if "JUPYTER" not in name}
        folders = {f"JUPYTER_{each.upper()}_DIR": each for each in ("runtime", "config", "data")}
        folders |= {"TOUR_HOME": "tour", "IPYTHONDIR": "ipython"}
        self.url = f"http://127.0.0.1:{(port := free_port())}/lab"
        options = ["--no-browser", f"--port={port}", "--ServerApp.ip=127.0.0.1"]
        options += [
            "--allow-root",
            f"--IdentityProvider.token={TOKEN}",
            "--LabApp.expose_app_in_browser=True",
        ]
        self.process = subprocess.Popen(
            [
                ROOT / ".venv/bin/jupyter-lab",
                *options,
                f"--ServerApp.root_dir={home / 'notebooks'}",
            ],
            env=kept | {name: str(home / folder) for name, folder in folders.items()},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def address(self, notebook: Path) -> str:
        """Return the address of a notebook, in a workspace of its own."""
        return f"{self.url}/workspaces/{notebook.stem}/tree/{notebook.name}?token={TOKEN}"

    def wait(self) -> None:
        """Wait until it answers."""
        while self.process.poll() is None:  # the test's own timeout ends this
            with suppress(httpx.TransportError):
                httpx.get(self.url, follow_redirects=True)
                return
            time.sleep(0.2)
        raise AssertionError("it has ended")


@pytest.fixture(scope="module")
def plain_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlainLab]:
    """One for all notebooks."""
    running = PlainLab(tmp_path_factory.mktemp("plain"))
    try:
        running.wait()
        yield running
    finally:
        running.process.terminate()
        running.process.wait(30)


def words(text: str) -> str:
    return " ".join(re.sub(r"\x1b\[[\d;]*m", "", text).split())


def expected(cell: Any) -> tuple[str, int]:
    """Return the words that a cell's outputs show, and how many pictures."""
    data = [output.get("data", {"text/plain": output.get("text")}) for output in cell.outputs]
    texts = [each["text/plain"] for each in data if set(each) == {"text/plain"}]
    return words("\n".join(texts)), len(data) - len(texts)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_all_of_it_is_seen_in_both_themes_and_pictures_leave_no_words(
    page: Page, plain_lab: PlainLab, path: Path, tmp_path: Path
) -> None:
    notebook = NotebookPage(page, plain_lab, path)
    assert page.evaluate(TRUSTED) == 0
    seen, changed = page.evaluate(CHANGED)
    assert seen >= len([cell for cell in read(path).cells if cell.cell_type == "markdown"]) > 0
    assert changed == []
    for name, theme in THEMES.items():
        notebook.use_theme(theme)
        cells = notebook.code_cells.evaluate_all(OUTPUTS)
        for shown, cell in zip(cells, code_cells(read(path)), strict=True):
            found = words("\n".join(output["words"] for output in shown))
            assert (found, sum(len(output["images"]) for output in shown)) == expected(cell)
        pictures = [output for shown in cells for output in shown if output["images"]]
        for output in pictures:
            [image] = output["images"]
            assert (output["words"], output["drawn"]) == ("", 0)
            assert image["png"]
            assert image["pixels"] > 0
            assert image["seen"]
            assert 300 < image["width"] <= image["room"]
        if pictures:
            notebook.notebook.locator(".jp-OutputArea-output img").last.scroll_into_view_if_needed()
            page.screenshot(path=tmp_path / f"{name}.png")
            assert shades(tmp_path / f"{name}.png") > 20
