"""Reads out of a message what a JSON schema asks for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from itertools import takewhile
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

__all__ = ["SCANNED", "Json", "Reader", "Schema", "plain", "refuses", "stems"]

Json = Any  # a value as it stands in JSON

# The keywords of a JSON schema that are read here: one whose value has another type is refused.
Schema = TypedDict(
    "Schema",
    {
        "type": str | Annotated[list[str], Field(min_length=1)],
        "properties": dict[str, "Schema"],
        "required": list[str],
        "items": "Schema",
        "anyOf": list["Schema"],
        "enum": Annotated[list[Json], Field(min_length=1)],
        "const": Json,
        "$ref": str,
        "$defs": dict[str, "Schema"],
        "description": Json,
        "format": Json,
        "nullable": Json,
    },
    total=False,
)

SCANNED = 20_000  # characters of a message that are read: no message takes long
DEEPEST = 4  # references within references: a schema may contain itself

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
    "medic": "clini denta denti docto hospi ortho pharm surge thera",
}
SAME = {word: stem for stem, words in SYNONYMS.items() for word in words.split()}

PLACES = re.compile(r"\b(?:in|for|at|near|nach)\s(.{2,300}?)(?:[?!;:\n]|(?<!\bSt)\.(?!\S)|$)", re.I)
BETWEEN = re.compile(r"\s*[,/&]\s*|(?:^|\s+)(?:and|or|und|oder|vs|in|for|at|near|nach)\s+", re.I)
REPLY = re.compile(r"answer|result|response|summary|decision|verdict|feedback")
LISTED = re.compile(r"\s*[,;\n]\s*(?:and\s+)?|\s+and\s+")
CAPITALISED = re.compile(
    r"[^\W\d_a-zß-ÿ][\w'.-]+(?: (?:(?:de|del|da|la|of) )?[^\W\d_a-zß-ÿ][\w'-]+)*"
)
NOT_PLACES = re.compile(  # a person's name, and a capital that only opens a sentence
    r"\b(?:[Mm]y name is|I am|I'm|[Cc]all me)\s[^.,!?;\n]*"
    r"|^\s*\w+ (?!(?:and|or|und|please|today|tomorrow|now|weather|forecast)\b)(?=[a-zß-ÿ])"
)
BOUND_FOR = re.compile(rf"\b(?:to|nach)\s+({CAPITALISED.pattern})")
AMOUNT = r"-?\d{1,30}(?:,\d{3}){0,9}(?:\.\d+)?"
NUMBER = re.compile(rf"(?<![\w.,-])[$€£]?({AMOUNT})(k\b)?")
MONEY = re.compile(
    rf"[$€£]{AMOUNT}k?|\b[A-Z]{{3}} {AMOUNT}"
    rf"|(?<![\w.,-]){AMOUNT}k?\s?(?:[$€£]|[A-Z]{{3}}\b|dollars|euros)"
)
DATE = re.compile(r"\b\d{4}-\d\d-\d\d\b")
IDENTIFIER = re.compile(r"\b[A-Za-z]+[-_]\d[\w-]*|\b[A-Z]+\d[\w-]*")
REFUSAL = re.compile(
    r"\b(?:false|no|reject\w*|den(?:y|ied)|declined?|ineligible|unreasonable|fraudulent"
    r"|high[- ]risk|not (?:eligible|reasonable|approved|covered))\b",
    re.I,
)
CLEARED = re.compile(r"\bfraud\w*\W{1,4}(?:false|no|none)\b", re.I)
NEUTRAL = {"string": "", "integer": 0, "number": 0, "boolean": False, "array": []}


def stems(text: str) -> set[str]:
    """The words that mean something, cut to five letters, those of one meaning made one."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", text[:SCANNED])
    words = set(re.findall(r"[\w']+", spaced.lower())) - SILENT
    return {SAME.get(stem, stem) for stem in (word.rstrip("s")[:5] for word in words)}


def refuses(text: str) -> bool:
    """Whether an analysis or a person speaks against something here."""
    return bool(REFUSAL.search(CLEARED.sub("", text)))


def plain(schema: Json, defs: Json = None, deep: int = DEEPEST) -> Json:
    """The schema without references and choices: of a choice, the first that is not null."""
    defs = schema.get("$defs", defs or {})
    if "$ref" in schema:
        target = defs.get(schema["$ref"].rpartition("/")[2], {})
        return plain(target, defs, deep - 1) if deep else {"type": "null"}
    kind = schema.get("type", "object" if "properties" in schema else "string")
    types = kind if isinstance(kind, list) else []
    options = schema.get("anyOf") or [{**schema, "type": each} for each in types]
    if options:
        first, *others = sorted(options, key=lambda each: each.get("type") == "null")
        nullable = any(each.get("type") == "null" for each in others)
        return {**schema, **plain(first, defs, deep), "nullable": nullable}
    fields = schema.get("properties", {}).items()
    inner = {"properties": {name: plain(each, defs, deep) for name, each in fields}}
    if kind == "array":
        inner["items"] = plain(schema.get("items", {}), defs, deep)
    return {"required": [], **schema, "type": kind, **inner}


class Reader:
    """Finds values in one message, for schemas that are plain.

    Attributes:
        text: the words of the message.
        data: the JSON objects in it, by the letters of their keys.
        reply: the answer in words, for a schema that wants it as one of its strings.
        judged: whether that answer is a verdict, if it is wanted as true or false.
    """

    def __init__(self, message: str, reply: str = "", *, judged: bool = False) -> None:
        """Separate the words of a message from its JSON objects."""
        self.text, self.data = _split(message[:SCANNED])
        self.reply, self.judged = reply, judged

    def find(self, name: str, schema: Json) -> list[Json]:
        """Every value that the message has for a property of that name and schema."""
        given = self.data.get(_letters(name))
        text = self.text if given is None else str(given)
        if "enum" in schema or "const" in schema:
            values = schema.get("enum") or [schema["const"]]
            return [each for each in values if len(values) == 1 or _mentions(text, str(each))]
        match schema["type"]:
            case "object":
                found = self._objects(schema, given)
            case "array":
                found = self._arrays(name, schema["items"], given)
            case "string":
                found = self._strings(name, schema, given)
            case "boolean":
                words = self.reply if self.judged else text
                found = [given] if isinstance(given, bool) else _judgements(name, words)
            case "integer" | "number":
                found = _numbers(name, schema["type"], text)
            case _:
                found = []
        return found

    def complete(self, name: str, schema: Json) -> Json:
        """A value that is valid against the schema: out of the message, else a neutral one."""
        if found := self.find(name, schema):
            return found[0]
        if schema.get("nullable"):
            return None
        if "enum" in schema:
            return schema["enum"][0]
        return self._filled(schema) if schema["type"] == "object" else NEUTRAL.get(schema["type"])

    def _filled(self, schema: Json) -> Json:
        return {
            name: self.complete(name, each)
            for name, each in schema["properties"].items()
            if name in schema["required"] or self.find(name, each)
        }

    def _within(self, text: str, data: Json) -> Reader:
        inner = Reader("", self.reply, judged=self.judged)
        inner.text, inner.data = text, _flat(data)
        return inner

    def _objects(self, schema: Json, given: Json) -> list[Json]:
        inner = self._within(self.text, given) if isinstance(given, dict) else self
        properties = schema["properties"].items()
        return [inner._filled(schema)] if any(inner.find(*each) for each in properties) else []

    def _arrays(self, name: str, items: Json, given: Json) -> list[Json]:
        if isinstance(given, list):
            rows = [each if isinstance(each, dict) else {name: each} for each in given]
            return [[self._within(self.text, row).complete(name, items) for row in rows]]
        if items["type"] == "object":
            parts = filter(None, BETWEEN.split(self.text.strip()))
            values = [v for part in parts for v in self._within(part, {}).find(name, items)]
        else:
            values = self.find(name, items)
            if values == [self.text.strip()]:  # a text, and a list is wanted: its parts
                values = [part for part in LISTED.split(values[0].rstrip(".?!")) if part]
        return [values] if values else []

    def _strings(self, name: str, schema: Json, given: Json) -> list[str]:
        if given is not None:
            return [given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)]
        if labelled := _labelled(name, self.text):
            return labelled
        if self.reply and REPLY.search(name):
            return [self.reply]
        hints = f"{name} {schema.get('description', '')} {schema.get('format', '')}"
        return next((read(self.text) for hint, read in HINTS if re.search(hint, hints)), [])


def _split(text: str) -> tuple[str, dict[str, Json]]:
    """The words of a text, and what the JSON objects in it have, by the letters of their keys."""
    data: dict[str, Json] = {}
    for start in [match.start() for match in re.finditer("{", text)][:100]:
        with suppress(ValueError, RecursionError):
            value, end = json.JSONDecoder().raw_decode(text, start)
            data |= _flat(value)
            text = text[:start] + " " * (end - start) + text[end:]
    return re.sub(" +", " ", text), data


def _flat(value: Json) -> dict[str, Json]:
    flat: dict[str, Json] = {}
    for key, inner in value.items():
        flat |= _flat(inner) if isinstance(inner, dict) else {}
        flat[_letters(key)] = inner
    return flat


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _mentions(text: str, word: str) -> bool:
    word, text = word.replace("_", " "), text.replace("_", " ")
    return bool(re.search(rf"(?<!\w){re.escape(word)}", text, re.I))


def _labelled(name: str, text: str) -> list[str]:
    """The value in "name: value" or "name is value"."""
    label = re.escape(name.replace("_", " "))
    return re.findall(rf"\b{label}(?:\s*[:=]\s*|\s+is\s+)([^\s,;?!]*[^\s,;?!.])", text, re.I)


def _judgements(name: str, text: str) -> list[bool]:
    judged = re.search(r"approv|accept|eligib|valid|allow|reasonable", name, re.I)
    return [not refuses(text)] if judged else []


def _numbers(name: str, kind: str, text: str) -> list[Json]:
    """The numbers in a text: for a name like "amount" sums of money, if there are any."""
    text = IDENTIFIER.sub(" ", DATE.sub(" ", text))
    if re.search(r"amount|price|cost|total|fee|sum$", name, re.I):
        text = " ".join(MONEY.findall(text)) or text
    else:
        text = MONEY.sub(" ", text)
    found = [float(n.replace(",", "")) * (1000 if k else 1) for n, k in NUMBER.findall(text)]
    return [int(n) if kind == "integer" or n.is_integer() else n for n in found]


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


def _destinations(text: str) -> list[str]:
    """Where it goes to; if it does not say so, any place."""
    return list(dict.fromkeys(BOUND_FOR.findall(text))) or _places(text)


HINTS: list[tuple[str, Callable[[str], list[str]]]] = [
    (r"destination", _destinations),
    (r"cit(?:y|ies)|location|\bplace\b|town", _places),
    (r"e-?mail", re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+\w").findall),
    (r"date|day\b", DATE.findall),
    (r"currency", re.compile(r"\b[A-Z]{3}\b").findall),
    (r"(?:_|\b|[a-z])(?:id|ID|Id)\b|number|reference", IDENTIFIER.findall),
    (
        r"descri|text|message|quer|question|reason|content|prompt|topic|task|problem|issue|input"
        r"|note|subject|title|body|request|comment|detail",
        lambda text: [text.strip()] if text.strip() else [],
    ),
]
