"""One journal as a picture."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Any

from tour.journal.attempts import CUT_OFF, Attempt
from tour.journal.journal import Journal, Step, how_it_failed, plural, shorten

MAX_ROWS = 200

# The picture's columns: labels up to LEFT, bars up to RIGHT, durations up to WIDTH.
LEFT, RIGHT, WIDTH = 290, 660, 770
TOP, ROW = 28, 20
# Mid-tones: each has a contrast of at least 3:1 on white and on a dark theme's #111.
COLOURS = {"run": "#3b82f6", "call": "#8b5cf6", "send": "#8b5cf6", "sleep": "#b45309"}
COLOURS |= {"wait": "#0d9488", "error": "#dc2626"}


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

    @property
    def calls(self) -> bool:
        return self.kind in ("call", "send")

    @property
    def outcome(self) -> str:
        """How long it took, or how it stands."""
        if self.end is None:
            return shorten(self.state, 14)
        took = _duration(max((self.end - self.start).total_seconds(), 0))
        return f"failed · {took}" if self.state == "failed" else took


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
    drawn = rows[:MAX_ROWS]
    shown = repr((journal.id, journal.entries)).encode("utf-8", "replace")
    bottom = TOP + ROW * len(drawn)
    more = len(rows) - len(drawn)
    drawing: str = _template().render(
        rows=drawn,
        more=more,
        scale=_Scale(rows),
        bottom=bottom,
        height=bottom + (ROW if more else 4),
        key=f"tour-{sha256(shown).hexdigest()[:12]}",
        summary=shorten("; ".join(repr(journal).splitlines()[:50]), 600),
    )
    return drawing


@cache
def _template() -> Any:
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415  not before the first picture

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["tenth"] = "{:.1f}".format
    environment.globals.update(
        {"left_edge": LEFT, "right_edge": RIGHT, "width": WIDTH, "top": TOP, "line": ROW},
        colours=COLOURS,
        cut_off=CUT_OFF,
        shorten=shorten,
        how_it_failed=how_it_failed,
    )
    source = Path(__file__).with_name("timeline.svg.jinja").read_text(encoding="utf-8")
    # The template has lines for its readers; the picture has none.
    return environment.from_string(source.replace("\n", ""))


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
        address = escape("".join(journal.ui.split()))
        look = 'style="color:inherit;text-decoration:underline" target="_blank" rel="noopener"'
        link = f'<a href="{address}" {look}>'
        parts.append(f"{link}Open in the Restate UI</a>")
    return " · ".join(parts)
