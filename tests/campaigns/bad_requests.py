"""Requests that no client should send: schemathesis's, and those of our own."""

import json
import shlex
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import SearchStrategy
from schemathesis import Case, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation

__all__ = [
    "JSON",
    "KEYS",
    "OWN_BODIES",
    "AnyCase",
    "Client",
    "NoAnswer",
    "Operation",
    "Request",
    "by_field",
    "drawn",
    "generated",
    "operations",
]

SECONDS = 30.0  # until a request without an answer counts as hanging
JSON = {"content-type": "application/json"}
Drawn = TypeVar("Drawn")
AnyCase = Case[Any]
Operation = APIOperation[Any, Any, Any, Any]


class NoAnswer(Exception):  # noqa: N818
    """A request hung, or its connection broke."""


@dataclass(frozen=True)
class Request:
    """One request, byte by byte."""

    method: str
    path: str  # as it stands in the request, whatever is wrong with it
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def curl(self, base: str) -> str:
        """Return the shell command that sends it; a long body goes into a file of its own."""
        options = [f"-H {shlex.quote(f'{name}: {value}')}" for name, value in self.headers.items()]
        if self.body and "content-type" not in self.headers:
            options.append("-H content-type:")  # curl would add one
        source = ""
        if len(self.body) > 2_000:
            with tempfile.NamedTemporaryFile("wb", suffix=".body", delete=False) as file:
                file.write(self.body)
            options.append(f"--data-binary @{file.name}")
        elif self.body:
            plain = self.body.isascii() and self.body.decode("latin-1").isprintable()
            text = self.body.decode("latin-1") if plain else ""
            octal = "".join(f"\\0{byte:03o}" for byte in self.body)
            source = "" if plain else f"printf '%b' '{octal}' | "
            options.append(f"--data-binary {shlex.quote(text) if plain else '@-'}")
        url = shlex.quote(base + self.path)
        return f"{source}curl -i --path-as-is -g -X {self.method} {url} {' '.join(options)}".strip()


class Client:
    """Sends requests as they are."""

    def __init__(self, base: str) -> None:
        """Keep the connections to one server."""
        self.base = base
        self._http = httpx.Client(trust_env=False, timeout=SECONDS)

    def __enter__(self) -> Self:
        """Open nothing: connections are made when they are needed."""
        return self

    def __exit__(self, *_raised: object) -> None:
        """Close the connections."""
        self._http.close()

    def send(self, request: Request) -> httpx.Response:
        """Return the response, whatever it is.

        Raises:
            NoAnswer: there is none.
        """
        # As a target of its own the path is not put in order on its way.
        target = {"target": request.path.encode("ascii")}
        try:
            return self._http.request(
                request.method,
                self.base,
                headers=request.headers,
                content=request.body,
                extensions=target,
            )
        except httpx.TransportError as error:
            raise NoAnswer(repr(error)) from error


def drawn(strategy: SearchStrategy[Drawn], number: int, fixed: int) -> list[Drawn]:
    """Return up to so many examples, always the same ones for a seed."""
    found: list[Drawn] = []

    @seed(fixed)
    @settings(
        max_examples=max(1, number),
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def draw(example: Drawn) -> None:
        found.append(example)

    with suppress(Unsatisfiable):  # nothing is invalid where anything goes
        draw()
    return found


def operations(document: dict[str, Any]) -> Iterator[Operation]:
    """Read the operations of an OpenAPI document."""
    for found in schemathesis.openapi.from_dict(document).get_all_operations():
        assert isinstance(found, Ok), found.err()
        yield found.ok()


def generated(
    operation: Operation,
    number: int,
    fixed: int,
    change: Callable[[AnyCase, int], None] = lambda _case, _place: None,
) -> Iterator[Request]:
    """Draw half of the requests valid and half of them not, by an operation's OpenAPI document."""
    modes = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    found = [
        case
        for mode in modes
        for case in drawn(operation.as_strategy(mode), number // len(modes), fixed)
    ]
    for place, case in enumerate(found):
        change(case, place)
        yield _request(case)


def _request(case: AnyCase) -> Request:
    parts = case.as_transport_kwargs(base_url="http://127.0.0.1")
    headers = {name.lower(): str(value) for name, value in parts["headers"].items()}
    kept = {name: headers[name] for name in ("content-type",) if name in headers}
    body = json.dumps(parts["json"]).encode() if "json" in parts else parts.get("data") or b""
    url = httpx.URL(parts["url"], params=parts.get("params") or None)
    return Request(
        parts["method"],
        url.raw_path.decode(),
        kept,
        body if isinstance(body, bytes) else str(body).encode(),
    )


def _bodies() -> Iterator[Request]:
    """Bodies for any handler; method and path are still to be set."""
    nothing = Request("", "")
    deep = 100_000
    for content in (
        b"",
        b"What is the weather?",
        b'{"prompt": "What',
        b"{}",
        b"{} {}",
        b"null",
        b"true",
        b"7",
        b"1" * 5_000,
        b"1e400",
        b"NaN",
        b"-Infinity",
        b'"Oslo?"',
        b'"\\ud83d"',
        b'"\\u0000"',
        b"[]",
        b"[{}]",
        b'[{"prompt": "Oslo?"}]',
        b'{"": null, "__class__": {}, "\\u0000": []}',
        b"\xff\xfe{}",
        b'{"prompt": "\xff\xfe"}',
        '{"prompt": "Oslo?"}'.encode("utf-16"),
        b"\xef\xbb\xbf{}",
        b"[" * deep + b"]" * deep,
        b'{"a":' * deep + b"7" + b"}" * deep,
        b'"' + b"Weather in Oslo? " * 100_000 + b'"',
    ):
        yield replace(nothing, headers=JSON, body=content)
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=x"):
        yield replace(nothing, headers={"content-type": kind}, body=b'{"prompt": "Oslo?"}')
    yield replace(nothing, headers={"content-type": "nothing at all"}, body=b"{}")
    yield replace(nothing, body=b'{"prompt": "Oslo?"}')
    yield nothing


def by_field(schema: dict[str, Any], good: dict[str, Any]) -> Iterator[Request]:
    """A good object with one field of a kind that it may not have, or a value at its limits."""
    values: list[Any] = [
        None,
        True,
        -1,
        10**400,
        1e308,
        float("nan"),
        "",
        " ",
        "../..//%2F",
        "{}",
        "\u0000",
        "🌧️ 東京",
        "\ud83d",
        "1000 USD",
        "in Oslo? " * 20_000,
        [],
        [{}],
        {},
        {"a": {"b": []}},
    ]
    for name in schema.get("properties", {}):
        for value in values:
            yield Request("", "", JSON, json.dumps({**good, name: value}).encode())


OWN_BODIES = list(_bodies())
KEYS = [
    quote(key, safe="")
    for key in (
        "a b",
        "Zürich",
        "東京",
        "🌧️",
        "a/b",
        "a?b#c",
        "%",
        "\u0000",
        "\n",
        "'; --",
        "a" * 9_000,
    )
] + ["%FF", "%", "%zz", ".", "..", "", ";x=1", "*"]
