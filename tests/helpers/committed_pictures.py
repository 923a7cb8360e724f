"""A journal's picture as a notebook's file keeps it: a PNG, which is shown wherever notebooks are.

In a kernel it is SVG in HTML, with hover texts and a link. A page that does not trust the file
takes these elements away, and leaves their words.

`python -m tests.helpers.committed_pictures` draws them anew, from what a run has left there.
"""

import io
import re
from base64 import b64encode
from typing import Any

import font_source_sans_pro as font
import nbformat
import resvg_py
from PIL import Image

from tests.helpers.exercise_source import NOTEBOOKS, code_cells, read

__all__ = ["LIVE", "keep_as_png"]

LIVE = '<div class="tour-timeline">'
# A card of its own, on which the picture's colours and its text can be read, whatever is around.
PAPER, EDGE, INK = "#ffffff", "#d0d7de", "#1f2328"
MARGIN, CAPTION = 14, 22
SCALE, COLOURS = 2, 128


def keep_as_png(output: Any) -> None:
    """Let an output that is a journal's picture hold a PNG, with its text as the alternative."""
    html = output.get("data", {}).get("text/html", "")
    if not html.startswith(LIVE):
        return
    drawing, width = _card(html)
    del output.data["text/html"]
    output.data["image/png"] = b64encode(_png(drawing)).decode() + "\n"
    output.metadata["image/png"] = {"alt": output.data["text/plain"], "width": width}


def _card(html: str) -> tuple[str, int]:
    """Return the picture and its caption, without the link, on a card; and the card's width."""
    drawing, _, caption = html.removeprefix(LIVE).partition("</svg>")
    size = re.search(r'viewBox="0 0 (\d+) (\d+)" width="100%"', drawing)
    assert size
    bottom = int(size[2]) + CAPTION
    width, height = int(size[1]) + 2 * MARGIN, bottom + 2 * MARGIN
    around = f'width="{width}" height="{height}"'
    box = f'viewBox="{-MARGIN} {-MARGIN} {width} {height}" {around}'
    edge = f'x="{-MARGIN + 0.5}" y="{-MARGIN + 0.5}" width="{width - 1}" height="{height - 1}"'
    card = f'<rect {edge} rx="8" fill="{PAPER}" stroke="{EDGE}"/>'
    words = re.sub("<[^>]*>", "", caption.partition("<a ")[0]).rstrip(" ·")
    # Names are fitted for fonts that are wide; this one is not, and need not be stretched.
    drawing = re.sub(r' textLength="\d+" lengthAdjust="\w+"', "", drawing)
    start, end = drawing.replace(size[0], box).replace("currentColor", INK).split(">", 1)
    return f'{start}>{card}{end}<text x="8" y="{bottom - 4}">{words}</text></svg>', width


def _png(drawing: str) -> bytes:
    """Draw it with a font that is the same on every machine, in as few colours as it needs."""
    drawn = resvg_py.svg_to_bytes(
        svg_string=drawing,
        skip_system_fonts=True,
        font_files=[font.SourceSansPro, font.SourceSansProSemibold],
        sans_serif_family="Source Sans Pro",
        zoom=SCALE,
    )
    written = io.BytesIO()
    with Image.open(io.BytesIO(drawn)) as image:
        few = image.quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    # The mean of many whites is not quite white, nor quite opaque.
    palette = few.getpalette("RGBA") or []
    few.putpalette([255 if value > 250 else value for value in palette], "RGBA")
    few.save(written, "PNG", optimize=True)
    return written.getvalue()


def main() -> None:
    """Keep every picture of every notebook as a PNG."""
    for path in NOTEBOOKS:
        notebook = read(path)
        for output in (output for cell in code_cells(notebook) for output in cell.outputs):
            keep_as_png(output)
        nbformat.write(notebook, path)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
