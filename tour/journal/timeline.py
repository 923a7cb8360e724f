"""One journal as a picture."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from xml.sax.saxutils import escape, quoteattr

from tour.journal.attempts import CUT_OFF, Attempt
from tour.journal.journal import Journal, Step, how_it_failed, plural, shorten

MAX_ROWS = 200

# The picture's columns: labels up to LEFT, bars up to RIGHT, durations up to WIDTH.
LEFT, RIGHT, WIDTH = 290, 660, 770
TOP, ROW, BAR = 28, 20, 10
# Mid-tones: each has a contrast of at least 3:1 on white and on a dark theme's #111.
COLOURS = {"run": "#3b82f6", "call": "#8b5cf6", "send": "#8b5cf6", "sleep": "#b45309"}
WAIT, ERROR = "#0d9488", "#dc2626"


@dataclass(frozen=True, repr=False)
class Timeline:
    """A journal that a notebook shows as a picture, and everything else as text.

    Attributes:
        journal: what it shows.
    """

    journal: Journal

    def __repr__(self) -> str:
        """Return the stable text: the part that a notebook's outputs are compared by."""
        return repr(self.journal)

    def _repr_html_(self) -> str:
        """Return the picture and its caption in one element, with no other of its kind inside."""
        style = "margin:.2em 0;font-size:85%;opacity:.85"
        caption = f'<p style="{style}">{_caption(self.journal)}</p>'
        return f'<div class="tour-timeline">{svg(self.journal)}{caption}</div>'


def _duration(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds:,.0f} s"


@dataclass(frozen=True)
class _Row:
    """One line of the picture: an invocation with its errors, or a step with its tries."""

    depth: int
    name: str
    detail: str
    kind: str
    start: datetime
    end: datetime | None
    state: str
    tries: Sequence[Attempt] = ()
    marks: Sequence[tuple[datetime, str]] = ()


def _rows(journal: Journal, call: Step | None = None, depth: int = 0) -> Iterator[_Row]:
    """Yield a row for the invocation, named by the call that started it, and one for each step."""
    name, kind, start = journal.target, "call", journal.created
    if call is not None:
        name, kind, start = call.name, call.kind, call.started
    status = journal.state
    end = journal.ended or (call.ended if call is not None and kind == "call" else None)
    yield _Row(depth, name, status, kind, start, end, status, marks=journal.errors)
    for step in journal.entries:
        if step.child is not None:
            yield from _rows(step.child, step, depth + 1)
        else:
            yield _step_row(step, journal, depth + 1)


def _step_row(step: Step, journal: Journal, depth: int) -> _Row:
    end = step.ended or journal.ended
    tries = [_clamped(attempt, step.started, end) for attempt in step.tries]
    marks = [(end, step.error)] if end and step.error is not None and not tries else []
    return _Row(
        depth, step.name, step.detail, step.kind, step.started, end, step.state, tries, marks
    )


def _clamped(attempt: Attempt, first: datetime, last: datetime | None) -> Attempt:
    """Return an attempt inside its step: another clock measured it than the server's."""
    started = max(attempt.started, first)
    ended = last if attempt.ended is None else max(attempt.ended, started)
    if last is not None and ended is not None:
        started, ended = min(started, last), min(ended, last)
    return replace(attempt, started=started, ended=ended)


class _Scale:
    """The time axis that all the rows share."""

    def __init__(self, rows: Sequence[_Row]) -> None:
        moments = [moment for row in rows for moment in _moments(row)]
        self.first = min(moments)
        self.known = (max(moments) - self.first).total_seconds()
        room = 1.12 if any(row.end is None for row in rows) else 1
        self.span = max(self.known * room, 0.005)

    def x(self, moment: datetime | None) -> float:
        """Return where a moment lies; what has not come yet lies at the right edge."""
        if moment is None:
            return RIGHT
        share = (moment - self.first).total_seconds() / self.span
        return LEFT + (RIGHT - LEFT) * min(max(share, 0), 1)

    def ticks(self) -> Iterator[tuple[float, str]]:
        """Yield at most six round times: where each lies and its label."""
        power = 10 ** math.floor(math.log10(self.span / 5))
        step = next(n * power for n in (1, 2, 5, 10) if n * power >= self.span / 5)
        for number in range(math.floor(self.span / step + 1e-9) + 1):
            at = self.first + timedelta(seconds=number * step)
            yield self.x(at), _duration(number * step).replace(".0 s", " s")


def _moments(row: _Row) -> Iterator[datetime]:
    yield row.start
    yield from (row.end,) if row.end else ()
    yield from (
        moment for attempt in row.tries for moment in (attempt.started, attempt.ended) if moment
    )
    yield from (moment for moment, _ in row.marks)


def svg(journal: Journal) -> str:
    """Draw a journal: a row for each step, all of them on one axis.

    A run is a solid bar for each try, a call a bracket around what it started, a sleep hatched,
    any other wait dotted. A failed try ends in a dot, one that was cut off in a cross, and what
    still goes on in an arrow.

    Args:
        journal: the invocation, drawn with its children.

    Returns:
        An SVG element that stands for itself, readable on light and dark pages.
    """
    rows = list(_rows(journal))
    scale, drawn = _Scale(rows), rows[:MAX_ROWS]
    more = len(rows) - len(drawn)
    bottom = TOP + ROW * len(drawn)
    shown = repr((journal.id, journal.entries)).encode("utf-8", "replace")
    key = f"tour-{sha256(shown).hexdigest()[:12]}"
    height = bottom + (ROW if more else 4)
    summary = shorten("; ".join(repr(journal).splitlines()[:50]), 600)
    return "".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="mathjax_ignore" role="img" '
            f'aria-label={quoteattr(summary)} viewBox="0 0 {WIDTH} {height}" width="100%" '
            f'style="max-width:{WIDTH}px" font-family="system-ui,sans-serif" font-size="13" '
            f'fill="currentColor" stroke-linecap="round">',
            _patterns(key, height),
            *(_tick(x, label, bottom) for x, label in scale.ticks()),
            *(_draw(row, TOP + ROW * n, scale, key) for n, row in enumerate(drawn)),
            _words(8, bottom + 14, f"… and {more} more rows") if more else "",
            "</svg>",
        ]
    )


def _patterns(key: str, height: int) -> str:
    """Define the fills, which tell waits apart without colour, and the edge of the labels."""
    sleep = COLOURS["sleep"]
    return (
        f'<defs><pattern id="{key}-sleep" width="6" height="6" patternUnits="userSpaceOnUse">'
        f'<path d="M-1 7 7 -1M-1 1 1 -1M5 7 7 5" stroke="{sleep}" stroke-width="1.5"/></pattern>'
        f'<pattern id="{key}-wait" width="5" height="5" patternUnits="userSpaceOnUse">'
        f'<circle cx="2.5" cy="2.5" r="1.4" fill="{WAIT}"/></pattern>'
        f'<clipPath id="{key}-labels"><rect width="{LEFT - 8}" height="{height}"/></clipPath>'
        "</defs>"
    )


def _words(x: float, y: float, words: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}"{more}>{escape(words)}</text>'


def _tick(x: float, label: str, bottom: int) -> str:
    line = f'<path d="M{x:.1f} {TOP - 6}V{bottom}" stroke="currentColor" stroke-opacity=".18"/>'
    return line + _words(x, TOP - 12, label, ' text-anchor="middle" font-size="12"')


def _draw(row: _Row, y: int, scale: _Scale, key: str) -> str:
    """Draw one row: its label, its bars, the marks on them, its duration."""
    middle, indent = y + ROW / 2, 8 + 14 * min(row.depth, 8)
    name = shorten(row.name, (LEFT - 14 - indent) // 7)
    look = ' font-weight="600"' if row.kind in ("call", "send") else ""
    if len(name) * 9 > LEFT - 14 - indent:  # too long in a wide font, which is made to fit
        look += f' textLength="{len(name) * 7}" lengthAdjust="spacingAndGlyphs"'
    label = _words(indent, middle + 4, name, look)
    tip = shorten(row.name, 200) + ": " + row.detail
    return (
        f'<g><title>{escape(tip)}</title><g clip-path="url(#{key}-labels)">{label}</g>'
        + _span(row, middle, scale, key)
        + "".join(_try(n, attempt, middle, scale) for n, attempt in enumerate(row.tries, 1))
        + "".join(_mark(scale.x(at), middle, "handler", error) for at, error in row.marks)
        + (f'<path d="M{RIGHT} {middle - 5}l7 5 -7 5z"/>' if row.end is None else "")
        + _words(WIDTH - 6, middle + 4, _outcome(row), ' text-anchor="end"')
        + "</g>"
    )


def _outcome(row: _Row) -> str:
    if row.end is None:
        return shorten(row.state, 14)
    took = _duration(max((row.end - row.start).total_seconds(), 0))
    return f"failed · {took}" if row.state == "failed" else took


def _span(row: _Row, middle: float, scale: _Scale, key: str) -> str:
    """Draw from when to when a row lasted, in the shape of its kind."""
    left, right = scale.x(row.start), scale.x(row.end)
    right = max(left, right)
    colour = COLOURS.get(row.kind, WAIT)
    if row.tries:
        return f'<path d="M{left:.1f} {middle}H{right:.1f}" stroke="{colour}"/>'
    if row.kind in ("call", "send"):
        dashes = ' stroke-dasharray="4 4"' if row.kind == "send" else ""
        cap = "" if row.end is None else f"M{right:.1f} {middle - 5}v10"
        shape = f"M{left:.1f} {middle - 5}v10M{left:.1f} {middle}H{right:.1f}{cap}"
        return f'<path d="{shape}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>'
    if row.kind == "run":
        return _bar(left, right, middle, f'rx="2" fill="{colour}"')
    fill = f"url(#{key}-{'sleep' if row.kind == 'sleep' else 'wait'})"
    return _bar(left, right, middle, f'rx="4" fill="{fill}" stroke="{colour}"')


def _bar(left: float, right: float, middle: float, look: str) -> str:
    """Draw a bar that is never too short to be seen, nor reaches beyond the axis."""
    left = min(left, RIGHT - 2)
    size = f'width="{max(right - left, 2):.1f}" height="{BAR}"'
    return f'<rect x="{left:.1f}" y="{middle - BAR / 2}" {size} {look}/>'


def _try(number: int, attempt: Attempt, middle: float, scale: _Scale) -> str:
    left, right = scale.x(attempt.started), scale.x(attempt.ended)
    bar = _bar(left, right, middle, f'rx="2" fill="{COLOURS["run"]}"')
    if attempt.error is None:
        return bar
    return bar + _mark(right, middle, f"try {number}", attempt.error)


def _mark(x: float, y: float, what: str, error: str) -> str:
    """Draw how a try ended: a dot where it failed, a cross where it was cut off."""
    title = f"<title>{escape(how_it_failed(what, error))}</title>"
    if error == CUT_OFF:
        cross = f"M{x - 4:.1f} {y - 4}l8 8m0 -8l-8 8"
        return f'<path d="{cross}" stroke="currentColor" stroke-width="2">{title}</path>'
    look = f'fill="{ERROR}" stroke="currentColor"'
    return f'<circle cx="{x:.1f}" cy="{y}" r="4" {look}>{title}</circle>'


def _caption(journal: Journal) -> str:
    """Return what the picture does not say: time, attempts and where to see more."""
    scale = _Scale(list(_rows(journal)))
    steps = [step for part in journal.walk() for step in part.entries]
    counted = sum(len(step.attempts or ()) for step in steps)
    total = _duration(scale.known)
    parts = [total if journal.ended else f"{total} until the last event"]
    if counted:
        parts.append(plural(counted, "attempt"))
    if journal.ui.startswith(("http://", "https://", "/")):
        address = quoteattr("".join(journal.ui.split()))
        look = 'style="color:inherit;text-decoration:underline" target="_blank" rel="noopener"'
        link = f"<a href={address} {look}>"
        parts.append(f"{link}Open in the Restate UI</a>")
    return " · ".join(parts)
