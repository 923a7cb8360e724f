"""What a campaign has counted and found, as a table."""

from collections import Counter
from dataclasses import dataclass, field

from tests.campaigns.bad_requests import Request

__all__ = ["OUTCOMES", "Row", "table"]

OUTCOMES = ("2xx", "3xx", "4xx", "typed", "waits")
ALIKE = 150  # characters
HEADINGS = ("", "cases", *OUTCOMES, "findings")


@dataclass
class Row:
    """What became of the requests to one handler or route."""

    name: str
    base: str  # the address that the requests went to
    counts: Counter[str] = field(default_factory=Counter)
    findings: dict[str, list[Request]] = field(default_factory=dict)

    def find(self, what: str, request: Request) -> None:
        """Note that a request had an outcome that none may have; what begins alike is one thing."""
        alike = next((known for known in self.findings if known[:ALIKE] == what[:ALIKE]), what)
        self.findings.setdefault(alike, []).append(request)

    @property
    def cases(self) -> int:
        """How many requests were sent."""
        return self.counts.total() + self.found

    @property
    def found(self) -> int:
        """How many of them are findings."""
        return sum(map(len, self.findings.values()))


def table(rows: list[Row]) -> str:
    """Return the rows, and below them each finding with the shortest request that shows it."""
    lines: list[tuple[str, ...]] = [HEADINGS]
    for row in rows:
        counts = [row.counts[outcome] for outcome in OUTCOMES]
        lines.append((row.name, *map(str, (row.cases, *counts, row.found))))
    width = max(len(row.name) for row in rows)
    text = [" ".join([first.ljust(width), *(f"{n:>8}" for n in rest)]) for first, *rest in lines]
    for row in rows:
        for what, requests in row.findings.items():
            shortest = min(requests, key=lambda request: len(request.body) + len(request.path))
            text += ["", f"{row.name}: {what} ({len(requests)} times)", shortest.curl(row.base)]
    return "\n".join(text)
