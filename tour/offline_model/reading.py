"""Reads out of a message what a JSON schema asks for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from itertools import takewhile
from typing import Any

__all__ = ["Json", "Reader", "refuses", "stems"]

Json = Any  # a value as it stands in JSON

SCANNED = 20_000  # characters of a message that are read: no message takes long
DEEPEST = 4  # levels of a schema that contains itself
LONGEST = 3  # items of a list that the schema does not bound

# Words that say nothing of what a message is about.
FILLERS = """
    a about am an and any are as ask at be bitte by call can check compare could create current
    currently das der did die do does find for from get give given going hello help here hi home
    how i if in info information is ist it its know like make me my need next no not now of on or
    our outside please result right should show so tell than thanks that the there they this to
    today tomorrow tonight tool two und use user using versus vs want was we week weekend what
    what's when where which who why wie will with would yesterday you your
"""
SILENT = frozenset(FILLERS.split())
SYNONYMS = {  # by their first letters, as `stems` has them
    "weath": "cloud forec meteo rain raini snow storm sun sunny tempe umbre warm wette wind windy",
    "bill": "billi charg invoi paid pay payme plan price refun subsc",
    "medic": "clini denta docto hospi ortho pharm surge thera",
}
SAME = {word: stem for stem, words in SYNONYMS.items() for word in words.split()}

PLACES = re.compile(r"\b(?:in|for|at|near|nach)\s(.{2,300}?)(?:[?!;:\n]|(?<!\bSt)\.(?!\S)|$)", re.I)
BETWEEN = re.compile(r"\s*[,/&]\s*|(?:^|\s+)(?:and|or|und|oder|vs|in|for|at|near|nach)\s+", re.I)
CAPITALISED = re.compile(
    r"[^\W\d_a-zß-ÿ][\w'.-]+(?: (?:(?:de|del|da|la|of) )?[^\W\d_a-zß-ÿ][\w'-]+)*"
)
NOT_PLACES = re.compile(  # a person's name, and a capital that only opens a sentence
    r"\b(?:[Mm]y name is|I am|I'm|[Cc]all me)\s[^.,!?;\n]*"
    r"|^\s*\w+ (?!(?:and|or|und|please|today|tomorrow|now|weather|forecast)\b)(?=[a-zß-ÿ])"
)
NUMBER = re.compile(r"(?<![\w.,-])(?:[A-Z]{3})?[$€£]?(-?\d+(?:,\d{3})*(?:\.\d+)?)(k\b)?")
MONEY = re.compile(r"[$€£]|\b[A-Z]{3}(?=\s?\d)|(?<=\d)\s?(?:[$€£]|[A-Z]{3}\b|dollars|euros)")
DATE = re.compile(r"\b\d{4}-\d\d-\d\d\b")
IDENTIFIER = re.compile(r"\b[A-Za-z]+[-_]\d[\w-]*|\b[A-Z]+\d[\w-]*")
REFUSAL = re.compile(
    r"\b(?:false|no|reject\w*|den(?:y|ied)|declined?|ineligible|unreasonable|fraudulent"
    r"|high[- ]risk|not (?:eligible|reasonable|approved|covered))\b",
    re.I,
)
CLEARED = re.compile(r"\bfraud\w*\W{1,4}(?:false|no|none)\b", re.I)


def stems(text: str) -> set[str]:
    """The words that mean something, cut to five letters, those of one meaning made one."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", text[:SCANNED])
    words = set(re.findall(r"[\w']+", spaced.lower())) - SILENT
    return {SAME.get(stem, stem) for stem in (word.rstrip("s")[:5] for word in words)}


def refuses(text: str) -> bool:
    """Whether an analysis or a person speaks against something here."""
    return bool(REFUSAL.search(CLEARED.sub("", text)))


class Reader:
    """Finds values in one message.

    Attributes:
        text: the words of the message.
        data: the JSON objects in it, by the letters of their keys.
        reply: the answer in words, for a schema that wants it as one of its strings.
    """

    def __init__(self, message: str, reply: str = "") -> None:
        """Separate the words of a message from its JSON objects."""
        self.text, objects = _split(message[:SCANNED])
        self.data = {key: value for each in objects for key, value in _flat(each)}
        self.reply = reply
        self._defs: dict[str, Json] = {}
        self._depth = 0

    def know(self, schema: Json) -> None:
        """Remember the definitions that parts of this schema refer to."""
        self._defs.update(schema.get("$defs", {}) | schema.get("definitions", {}))

    def find(self, name: str, schema: Json) -> list[Json]:
        """Every value that the message has for a property of that name and schema."""
        plain = self._plain(schema)
        given = self.data.get(_letters(name))
        if "const" in plain:
            return [plain["const"]]
        if "enum" in plain:
            text = self.text if given is None else str(given)
            return [each for each in plain["enum"] if _mentions(text, str(each))]
        finders: dict[str, Callable[[str, Json, Json], list[Json]]] = {
            "object": self._objects,
            "array": self._arrays,
            "number": self._numbers,
            "integer": self._numbers,
            "boolean": self._booleans,
            "string": self._strings,
        }
        finder = finders.get(plain["type"])
        return finder(name, plain, given) if finder and self._depth <= DEEPEST else []

    def complete(self, name: str, schema: Json) -> Json:
        """A value that is valid against the schema: out of the message, else a neutral one."""
        found, plain = self.find(name, schema), self._plain(schema)
        if found:
            return found[0]
        if "default" in plain or plain["nullable"]:
            return plain.get("default")
        if "enum" in plain:
            return plain["enum"][0]
        lowest = max(0, plain.get("minimum", plain.get("exclusiveMinimum", -1) + 1))
        number = min(lowest, plain.get("maximum", lowest))
        neutral: dict[str, Callable[[], Json]] = {
            "null": lambda: None,
            "object": lambda: self._filled(plain),
            "array": lambda: [self.complete(name, plain["items"])] * plain.get("minItems", 0),
            "integer": lambda: number,
            "number": lambda: number,
            "boolean": lambda: False,
            "string": lambda: _blank(plain),
        }
        return neutral.get(plain["type"], neutral["null"])()

    def _plain(self, schema: Json) -> Json:
        """The schema with its references followed and one of its alternatives chosen."""
        schema = schema if isinstance(schema, dict) else {}  # "true": anything goes
        self.know(schema)
        if "$ref" in schema:
            return self._plain(self._defs.get(schema["$ref"].rpartition("/")[2], {}))
        for part in schema.get("allOf", []):
            schema = {**schema, **self._plain(part)}
        options = schema.get("anyOf") or schema.get("oneOf") or []
        types = schema.get("type", "object" if "properties" in schema else "string")
        if isinstance(types, list):
            options = [{**schema, "type": each} for each in types]
        wanted = [each for each in options if each.get("type") != "null"]
        nullable = len(wanted) < len(options)
        base = self._plain(wanted[0]) if wanted else {"type": types}
        return {"nullable": nullable, **schema, **base} | ({"nullable": True} if nullable else {})

    def _within(self, given: Json, text: str | None = None) -> Reader:
        inner = Reader("", self.reply)
        inner.text = self.text if text is None else text
        inner.data = dict(_flat(given)) if isinstance(given, dict) else self.data
        inner._defs, inner._depth = self._defs, self._depth + 1
        return inner

    def _filled(self, plain: Json) -> Json:
        wanted, properties = plain.get("required", []), plain.get("properties", {})
        return {
            name: self.complete(name, schema)
            for name, schema in properties.items()
            if name in wanted or self.find(name, schema)
        }

    def _objects(self, _name: str, plain: Json, given: Json) -> list[Json]:
        inner = self._within(given)
        properties = plain.get("properties", {}).items()
        return [inner._filled(plain)] if any(inner.find(*each) for each in properties) else []

    def _arrays(self, name: str, plain: Json, given: Json) -> list[Json]:
        items = plain.get("items", {})
        if isinstance(given, list):
            inners = [self._within(e if isinstance(e, dict) else {name: e}) for e in given]
            values = [inner.complete(name, items) for inner in inners]
        elif self._plain(items)["type"] == "object":
            parts = filter(None, BETWEEN.split(self.text.strip()))
            values = [v for part in parts for v in self._within(None, part).find(name, items)]
        else:
            values = self._within(None).find(name, items)
        values = values[: plain.get("maxItems", max(LONGEST, len(given or "")))]
        return [values] if len(values) >= max(1, plain.get("minItems", 0)) else []

    def _numbers(self, name: str, plain: Json, given: Json) -> list[Json]:
        text = self.text if given is None else str(given)
        text = IDENTIFIER.sub(" ", DATE.sub(" ", text))
        money = bool(re.search(r"amount|price|cost|total|fee|sum$", name, re.I))
        every = list(NUMBER.finditer(text))
        found = [match for match in every if _is_money(match) is money] or (every if money else [])
        low, high = plain.get("minimum", float("-inf")), plain.get("maximum", float("inf"))
        numbers = [float(match[1].replace(",", "")) * (1000 if match[2] else 1) for match in found]
        whole = plain["type"] == "integer"
        kept = [number for number in numbers if low <= number <= high]
        return [int(n) if whole or n.is_integer() else n for n in kept]

    def _booleans(self, name: str, _plain: Json, given: Json) -> list[Json]:
        if isinstance(given, bool):
            return [given]
        judged = re.search(r"approv|accept|eligib|valid|allow|reasonable", name, re.I)
        return [not refuses(self.text)] if judged else []

    def _strings(self, name: str, plain: Json, given: Json) -> list[Json]:
        if given is None:
            hints = f"{name} {plain.get('description', '')} {plain.get('format', '')}"
            values = _labelled(name, self.text) or self._by_hint(hints)
        else:
            values = [given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)]
        shortest, longest = plain.get("minLength", 1), plain.get("maxLength", SCANNED)
        fitting = [value[:longest] for value in values if len(value) >= shortest]
        return [value for value in fitting if re.search(plain.get("pattern", ""), value)]

    def _by_hint(self, hints: str) -> list[str]:
        kinds: list[tuple[str, Callable[[], list[str]]]] = [
            (r"cit(?:y|ies)|location|\bplace\b|town|destination", lambda: _places(self.text)),
            (r"e-?mail", lambda: re.findall(r"[\w.+-]+@[\w-]+\.[\w.]+\w", self.text)),
            (r"date|day\b", lambda: DATE.findall(self.text)),
            (r"currency", lambda: re.findall(r"\b[A-Z]{3}\b", self.text)),
            (
                r"(?:_|\b|[a-z])(?:id|ID|Id)\b|number|reference",
                lambda: IDENTIFIER.findall(self.text),
            ),
            (r"answer|result|response|summary|decision|verdict", lambda: [self.reply]),
            (
                r"descri|text|message|quer|question|reason|content|prompt|topic|task|problem|issue"
                r"|input|note|subject|title|body|request|comment|detail",
                lambda: [self.text.strip()],
            ),
        ]
        return next((read() for hint, read in kinds if re.search(hint, hints)), [])


def _split(text: str) -> tuple[str, list[Json]]:
    objects, start = [], -1
    for _ in range(50):
        start = text.find("{", start + 1)
        if start < 0:
            break
        try:
            value, end = json.JSONDecoder().raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        objects.append(value)
        text = f"{text[:start]} {text[end:]}"
    return text, objects


def _flat(value: Json) -> Iterator[tuple[str, Json]]:
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield from _flat(inner)
        yield _letters(key), inner


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _mentions(text: str, word: str) -> bool:
    return bool(
        re.search(rf"(?<!\w){re.escape(word.replace('_', ' '))}", text.replace("_", " "), re.I)
    )


def _labelled(name: str, text: str) -> list[str]:
    """The value in "name: value" or "name is value"."""
    label = re.escape(name.replace("_", " "))
    return re.findall(rf"\b{label}(?:\s*[:=]\s*|\s+is\s+)([^\s,;?!]*[^\s,;?!.])", text, re.I)


def _is_money(match: re.Match[str]) -> bool:
    around = match.string[max(0, match.start() - 5) : match.end() + 8]
    return bool(MONEY.search(around))


def _places(text: str) -> list[str]:
    """Names after a preposition, else names by their capital letter, each once."""
    named = [part for match in PLACES.finditer(text) for part in BETWEEN.split(match[1])]
    names = [_name(part) for part in named]
    if not any(names):
        names = [_name(part) for part in CAPITALISED.findall(NOT_PLACES.sub("", text))]
    return list(dict.fromkeys(filter(None, names)))


def _name(part: str) -> str:
    """A place's name without the small words around it; empty if there is none."""
    words = list(takewhile(lambda word: word[0].isalpha(), part.strip(" .,!?'\"").split()))
    while words and words[-1].lower() in SILENT:
        words.pop()
    while words and words[0].lower() in SILENT - {"the"} and words[0][0].isupper():
        words.pop(0)
    if not 0 < len(words) <= 4 or words[0] in SILENT or stems(" ".join(words)) & {*SYNONYMS}:
        return ""
    name = " ".join(words)
    return name.title() if name.islower() else name


def _blank(plain: Json) -> str:
    known = {"date": "1970-01-01", "date-time": "1970-01-01T00:00:00Z"}
    blank: str = "-" * plain.get("minLength", 0)
    return known.get(plain.get("format", ""), blank)
