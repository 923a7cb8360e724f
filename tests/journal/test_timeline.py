"""One journal as text and as a picture."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest

from tour.journal import Attempt, Journal, Kind, State, Step, Timeline, svg

START = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
TRY = "RuntimeError('no route')"


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def tried(start: float, end: float | None, error: str | None = None) -> Attempt:
    return Attempt(at(start), None if end is None else at(end), error)


def ran(
    name: str, *attempts: Attempt, state: State = "completed", error: str | None = None
) -> Step:
    ended = attempts[-1].ended if state in ("completed", "failed") else None
    return Step("run", name, state, attempts[0].started, ended, attempts=attempts, error=error)


def waited(
    kind: Kind, start: float, end: float | None, name: str = "", state: State | None = None
) -> Step:
    ended = None if end is None else at(end)
    state = state or ("waiting" if end is None else "completed")
    return Step(kind, name or kind, state, at(start), ended)


def called(child: Journal, kind: Kind = "call", state: State = "completed") -> Step:
    ended = child.created if kind == "send" else child.ended
    return Step(kind, child.target, state, child.created, ended, child=child)


def journal(
    *entries: Step,
    target: str = "WeatherAgent/run",
    status: str = "completed",
    start: float = 0,
    end: float | None = None,
    errors: Sequence[tuple[float, str]] = (),
    failure: str | None = None,
) -> Journal:
    return Journal(
        id="inv_1gXhNUC61W3b2SqZbbRz2z9aGd3GHWRvE9",
        target=target,
        status=status,
        created=at(start),
        ended=None if end is None else at(end),
        entries=entries,
        errors=tuple((at(moment), message) for moment, message in errors),
        failure=failure,
        ui="http://127.0.0.1:9070/ui/invocations/inv_1gXh",
    )


LLM = ran("LLM call", tried(0.01, 0.42))
WEATHER = journal(
    LLM, ran("get weather", tried(0.43, 0.58)), ran("LLM call", tried(0.59, 1.21)), end=1.23
)
CRASH = journal(
    LLM,
    ran("get weather", tried(0.43, 0.9, "cut off"), tried(2.1, 2.3)),
    ran("LLM call", tried(2.31, 2.75)),
    end=2.76,
)
RETRIES = journal(
    LLM,
    ran("get weather", tried(0.43, 0.5, TRY), tried(0.8, 0.87, "TimeoutError()"), tried(1.5, 1.6)),
    end=1.63,
)
WORKERS = [
    journal(
        ran("LLM call", tried(0.5 + n / 50, 0.9 + n / 3)),
        target=f"Analyst/{topic}/run",
        start=0.45,
        end=0.95 + n / 3,
    )
    for n, topic in enumerate(["sentiment", "key points", "summary"])
]
PARALLEL = journal(LLM, *map(called, WORKERS), target="Newsroom/run", end=1.7)
APPROVAL = journal(LLM, waited("awakeable", 0.43, None), target="Refunds/run", status="suspended")
SLEEPS = journal(
    LLM,
    waited("sleep", 0.43, 1.43),
    waited("sleep", 1.45, 2.2, "cool down"),
    waited("awakeable", 2.2, 2.9),
    waited("promise", 2.9, 3.2, "approval", "failed"),
    waited("signal", 3.2, None, "go on"),
    target="Reminders/anna/run",
    status="suspended",
)
FAILURE = journal(
    LLM,
    ran("book hotel", *(tried(0.5 + n, 0.7 + n, TRY) for n in range(3)), state="failed", error=TRY),
    target="Travel/run",
    end=2.72,
    failure=TRY,
    errors=[(0.7, TRY), (1.7, TRY), (2.0, "cut off")],
)
RUNNING = journal(
    LLM,
    called(
        journal(
            ran("index", tried(0.5, None), state="running"),
            target="Index/run",
            start=0.45,
            status="running",
        ),
        "send",
    ),
    ran("get weather", tried(0.5, 0.6, TRY), tried(0.9, None), state="running"),
    ran("get time", tried(0.55, 0.65, TRY), state="retrying"),
    status="running",
)
FAN_OUT = journal(
    *(ran(f"page {n}", tried(0.1 + n % 8 / 50, 0.4 + n * 7 % 64 / 40)) for n in range(64)),
    target="Crawler/run",
    end=2.1,
)

EVERY = [WEATHER, CRASH, RETRIES, PARALLEL, APPROVAL, SLEEPS, FAILURE, RUNNING, FAN_OUT, journal()]
SVG = "{http://www.w3.org/2000/svg}"


def picture(drawn: Journal) -> ElementTree.Element:
    """Parse the picture: what is not well-formed fails here."""
    return ElementTree.fromstring(svg(drawn))


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (
            CRASH,
            """
WeatherAgent/run   completed
  1  LLM call      1 attempt
  2  get weather   2 attempts
       try 1 was cut off
  3  LLM call      1 attempt""",
        ),
        (
            RETRIES,
            """
WeatherAgent/run   completed
  1  LLM call      1 attempt
  2  get weather   3 attempts
       try 1 failed: RuntimeError('no route')
       try 2 failed: TimeoutError()""",
        ),
        (
            PARALLEL,
            """
Newsroom/run                    completed
  1  LLM call                   1 attempt
  2  Analyst/sentiment/run      call, completed
       Analyst/sentiment/run    completed
         1  LLM call            1 attempt
  3  Analyst/key points/run     call, completed
       Analyst/key points/run   completed
         1  LLM call            1 attempt
  4  Analyst/summary/run        call, completed
       Analyst/summary/run      completed
         1  LLM call            1 attempt""",
        ),
        (
            SLEEPS,
            """
Reminders/anna/run   suspended
  1  LLM call        1 attempt
  2  sleep           completed
  3  cool down       sleep, completed
  4  awakeable       resolved
  5  approval        promise, rejected
  6  go on           signal, waiting""",
        ),
        (
            FAILURE,
            """
Travel/run        failed
  1  LLM call     1 attempt
  2  book hotel   3 attempts, failed
       try 1 failed: RuntimeError('no route')
       try 2 failed: RuntimeError('no route')
       try 3 failed: RuntimeError('no route')
  handler failed: RuntimeError('no route') (2 times)
  handler was cut off
  failed: RuntimeError('no route')""",
        ),
        (
            RUNNING,
            """
WeatherAgent/run    running
  1  LLM call       1 attempt
  2  Index/run      send, completed
       Index/run    running
         1  index   1 attempt, running
  3  get weather    2 attempts, running
       try 1 failed: RuntimeError('no route')
  4  get time       1 attempt, retrying
       try 1 failed: RuntimeError('no route')""",
        ),
        (journal(end=1.0), "\nWeatherAgent/run   completed\n  no steps"),
        (
            journal(ran("LLM call", tried(0, None), tried(1, 2)), end=2),
            """
WeatherAgent/run   completed
  1  LLM call      2 attempts
       try 1 was cut off""",
        ),
        (
            journal(replace(LLM, attempts=()), replace(LLM, attempts=None), end=2),
            """
WeatherAgent/run   completed
  1  LLM call      kept
  2  LLM call      completed""",
        ),
    ],
)
def test_text(shown: Journal, text: str) -> None:
    assert repr(shown) == text.removeprefix("\n")
    assert repr(Timeline(shown)) == repr(shown)


def later(part: Journal, by: timedelta) -> Journal:
    """The same journal of another invocation at another time."""

    def moved(step: Step) -> Step:
        return replace(
            step,
            started=step.started + by,
            ended=step.ended and step.ended + by * 2,
            child=step.child and later(step.child, by),
            id="another",
        )

    entries = tuple(moved(step) for step in part.entries)
    return replace(part, id="inv_other", created=part.created + by, entries=entries, ui="")


@pytest.mark.parametrize("shown", EVERY)
def test_text_says_nothing_that_changes_from_run_to_run(shown: Journal) -> None:
    assert repr(later(shown, timedelta(hours=3))) == repr(shown)


def test_names_and_messages_are_one_line_each() -> None:
    wild = journal(ran("a\nb<script>\x00", tried(0, 1, "x" * 500), tried(1, 2)), end=2)
    lines = repr(wild).splitlines()
    assert lines[1] == "  1  a b<script>   2 attempts"
    assert lines[2].endswith("x…")
    assert len(lines) == 3


@pytest.mark.parametrize("shown", EVERY)
def test_everything_is_drawn_inside_the_picture(shown: Journal) -> None:
    root = picture(shown)
    width, height = (float(number) for number in root.attrib["viewBox"].split()[2:])
    for box in root.iter(f"{SVG}rect"):
        left, top = float(box.get("x", 0)), float(box.get("y", 0))
        assert 0 <= left <= left + float(box.attrib["width"]) <= width
        assert 0 <= top <= top + float(box.attrib["height"]) <= height
    for mark in root.iter(f"{SVG}circle"):
        if "cx" in mark.attrib and float(mark.attrib["r"]) > 2:
            assert 0 <= float(mark.attrib["cx"]) <= width
            assert 0 <= float(mark.attrib["cy"]) <= height


def test_random_journals_are_drawn() -> None:
    chance = random.Random(7)
    for _ in range(100):
        steps = [
            ran(
                chr(chance.randrange(32, 0x2FFF)) * chance.randrange(40),
                *(
                    tried(
                        start, start + chance.uniform(-1, 9), chance.choice([None, TRY, "cut off"])
                    )
                    for start in (chance.uniform(-2, 5) for _ in range(chance.randrange(1, 4)))
                ),
                state=chance.choice(["completed", "failed", "running", "retrying"]),
            )
            for _ in range(chance.randrange(9))
        ]
        assert picture(journal(*steps, end=chance.choice([None, 0, 4.0]))).tag == f"{SVG}svg"


def test_marks_tell_failed_from_cut_off() -> None:
    titles = [title.text for title in picture(FAILURE).iter(f"{SVG}title")]
    assert titles.count("try 1 failed: RuntimeError('no route')") == 1
    assert "handler was cut off" in titles
    assert len([c for c in picture(FAILURE).iter(f"{SVG}circle") if c.get("r") == "4"]) == 5


def test_nothing_breaks_out_of_the_picture() -> None:
    evil = "</text></svg></div><script>alert(1)</script>\"'&"
    shown = journal(ran(evil, tried(0, 1, evil), tried(1, 2)), target=evil, end=2, failure=evil)
    shown = replace(shown, ui='http://x/"><script>')
    html = Timeline(shown)._repr_html_()
    assert "<script" not in html
    assert re.fullmatch(r'<div class="tour-timeline">.*</div>', html, re.DOTALL)
    assert len(re.findall(r"<div|</div>", html)) == 2
    ElementTree.fromstring(html)


def test_no_link_to_what_is_not_a_web_page() -> None:
    assert "href" in Timeline(WEATHER)._repr_html_()
    assert 'href="/user/me/x"' in Timeline(replace(WEATHER, ui="/user/me/x"))._repr_html_()
    assert "href" not in Timeline(replace(WEATHER, ui="javascript:alert(1)"))._repr_html_()


def test_patterns_of_two_pictures_on_a_page_do_not_meet() -> None:
    def ids(shown: Journal) -> set[str]:
        return {element.attrib["id"] for element in picture(shown).iter() if "id" in element.attrib}

    assert ids(WEATHER)
    assert not ids(WEATHER) & ids(replace(WEATHER, id="inv_other"))
    assert svg(WEATHER) == svg(WEATHER)


def test_readable_on_light_and_dark() -> None:
    """Text and lines take the page's colour; the fills are mid-tones, 3:1 on white and on #111."""

    def luminance(colour: str) -> float:
        parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    colours = set(re.findall(r"#[0-9a-f]{6}", "".join(svg(shown) for shown in EVERY)))
    assert len(colours) >= 4
    for colour in colours:
        assert 1.05 / (luminance(colour) + 0.05) >= 3
        assert (luminance(colour) + 0.05) / (luminance("#111111") + 0.05) >= 3


def test_a_journal_of_thousands_of_steps_is_cut_and_says_so() -> None:
    long = journal(*(ran(f"step {n}", tried(n, n + 1)) for n in range(3000)), end=3000)
    words = [text.text for text in picture(long).iter(f"{SVG}text")]
    assert "… and 2801 more rows" in words
    assert repr(long).count("1 attempt") == 3000
