"""How often each step was tried, counted where it happens: in the endpoint.

The server's journal keeps the result of a step, not its tries, and folds equal errors into one
event. So the endpoint writes a line before each try and completes it afterwards. The file
outlives a killed kernel: a line without an end is a try that was cut off.
"""

import asyncio
import atexit
import base64
import os
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from tour.home import home

CUT_OFF = "cut off"
KEPT_DAYS = 2  # a day longer than the server keeps a finished invocation
SCHEMA = """
create table if not exists tries (
    id integer primary key, invocation text, step integer, started real, ended real, error text);
create table if not exists made_awakeables (
    invocation text, id text unique, noted real, runs integer);
create table if not exists model_calls (invocation text, started real);
create index if not exists tries_of on tries (invocation);
create index if not exists model_calls_of on model_calls (invocation);
"""

# Threads share a connection and its prepared statements, which must not be two threads' at once.
_one_at_a_time = threading.Lock()

current_invocation: ContextVar[str | None] = ContextVar("current_invocation", default=None)


@dataclass(frozen=True)
class Attempt:
    """One try at a step: when it began, when it ended and what it failed with.

    `error` is "cut off" where the process or its connection died under it.
    """

    started: datetime
    ended: datetime | None = None
    error: str | None = None


@dataclass(frozen=True)
class Awakeable:
    """An awakeable that an invocation made: its id, when, and after how many runs."""

    id: str
    made: datetime
    runs: int

    @property
    def signal(self) -> int:
        """The number of the signal that resolves it, which ends its id: sign_1 and base64."""
        encoded = self.id.removeprefix("sign_1")
        return int.from_bytes(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))[-4:])


@contextmanager
def noted(invocation: str, step: int) -> Iterator[None]:
    """Write down a try at a step, numbered from 0 among the runs of its invocation.

    The beginning is in the file before the body runs; the end and the error when it is over.
    """
    begun = "insert into tries (invocation, step, started) values (?, ?, ?)"
    ended = "update tries set ended = ?, error = ? where id = ?"
    attempt = _execute(begun, invocation, step, time.time())
    try:
        yield
    except (asyncio.CancelledError, GeneratorExit):
        _execute(ended, time.time(), CUT_OFF, attempt)
        raise
    except BaseException as error:
        _execute(ended, time.time(), repr(error), attempt)
        raise
    _execute(ended, time.time(), None, attempt)


def tries_of(invocation: str) -> dict[int, tuple[Attempt, ...]]:
    """Return the tries at each step of an invocation, by the step's number among its runs."""
    tries: dict[int, list[Attempt]] = defaultdict(list)
    query = "select step, started, ended, error from tries where invocation = ? order by id"
    for step, started, ended, error in _rows(query, invocation):
        moment = None if ended is None else _moment(ended)
        tries[step].append(Attempt(_moment(started), moment, error))
    return {step: tuple(attempts) for step, attempts in tries.items()}


def note_awakeable(invocation: str, awakeable: str, runs: int) -> None:
    """Write down that an invocation made this awakeable; once, however often it is replayed."""
    row = (invocation, awakeable, time.time(), runs)
    _execute("insert or ignore into made_awakeables values (?, ?, ?, ?)", *row)


def awakeables_of(invocation: str) -> list[Awakeable]:
    """Return the awakeables of an invocation, in the order it made them."""
    query = "select id, noted, runs from made_awakeables where invocation = ? order by rowid"
    rows = _rows(query, invocation)
    return [Awakeable(name, _moment(noted), runs) for name, noted, runs in rows]


def count_model_call(invocation: str) -> None:
    """Write down that an invocation is sending a request to the model."""
    _execute("insert into model_calls values (?, ?)", invocation, time.time())


def model_calls_of(invocation: str) -> int:
    """Return how many requests an invocation has sent to the model."""
    query = "select count(*) from model_calls where invocation = ?"
    return int(_rows(query, invocation)[0][0])


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _execute(statement: str, *values: str | float | None) -> int:
    with _one_at_a_time:
        return _database().execute(statement, values).lastrowid or 0


def _rows(query: str, invocation: str) -> list[tuple[Any, ...]]:
    with _one_at_a_time:
        return _database().execute(query, (invocation,)).fetchall()


def _database() -> sqlite3.Connection:
    return _open(os.environ.get("TOUR_HOME"))


@cache
def _open(_home: str | None) -> sqlite3.Connection:
    """Open the file of a home, once: every try at a step asks for it. Processes wait in SQLite."""
    path = home() / "attempts.db"
    path.touch()
    path.chmod(0o600)  # what errors say is private, and SQLite's other files are made like this one
    database = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
    atexit.register(database.close)
    database.execute("pragma journal_mode = wal")
    # Survives the death of the process, not of the machine: enough for counting.
    database.execute("pragma synchronous = off")
    database.executescript(SCHEMA)
    old = time.time() - KEPT_DAYS * 86_400
    database.execute("delete from tries where started < ?", (old,))
    database.execute("delete from made_awakeables where noted < ?", (old,))
    database.execute("delete from model_calls where started < ?", (old,))
    return database
