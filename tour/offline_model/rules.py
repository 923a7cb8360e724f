"""Decides what to answer: rules about words and schemas, and none about any one lesson."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field

from tour.offline_model.reading import Json, Reader, refuses, stems

__all__ = ["NO_RULE", "Call", "Conversation", "Reply", "Tool", "answer"]

NO_RULE = (
    "I am the offline stand-in, rules and not a language model, and I have no rule for this "
    "request. Set OPENAI_API_KEY to use a real model."
)

LIMIT = re.compile(
    r"(?:(?:more|greater|higher) than|above|over|exceed(?:s|ing)?|>)"
    r"\s*[$€£]?\s*(\d+(?:,\d{3})*(?:\.\d+)?)"
)
FRAME = re.compile(
    r"\b(begin|start|end)s? [\w ]{0,30}?with [\"“”']([^\"“”]{1,200}?)[\"“”'](?=\W|$)", re.I
)
FAILED = re.compile(r"\W*(?:error|failed|failure|tool not found|unknown tool)\b[\s:]*", re.I)
FACT = re.compile(r"\bmy ([\w' ]{2,30}?) (?:is|are) ([^.,!?;\n]{1,80})", re.I)
QUESTION = re.compile(r"\b(?:what|who|which|know|remember)\b.*\bmy ([\w' ]{2,30}?)\s*[?.!]*$", re.I)
GOOD = {"best", "enjoy", "excellent", "fast", "glad", "good", "great", "happy", "love", "nice"}
BAD = {"angry", "awful", "bad", "broken", "hate", "late", "poor", "sad", "slow", "terrible"}


@dataclass(frozen=True)
class Tool:
    """A function that the model may call."""

    name: str
    description: str
    parameters: Json


@dataclass(frozen=True)
class Call:
    """A call of a tool, and its result once there is one."""

    tool: str
    arguments: Json
    result: str = ""


@dataclass(frozen=True)
class Conversation:
    """What the model is asked, whichever API it came through.

    Attributes:
        system: the instructions.
        said: the user's messages, oldest first.
        done: the tool calls since the last of them.
        tools: the tools on offer.
        choice: "auto", "none", "required", or a tool's name.
        parallel: whether a reply may hold several calls.
        schema: the JSON schema of the answer; None if it is plain text.
    """

    system: str
    said: list[str]
    done: list[Call] = field(default_factory=list)
    tools: list[Tool] = field(default_factory=list)
    choice: str = "auto"
    parallel: bool = True
    schema: Json = None

    @property
    def last(self) -> str:
        """The message to be answered."""
        return self.said[-1] if self.said else ""


@dataclass(frozen=True)
class Reply:
    """What the model answers: a text, or calls."""

    text: str = ""
    calls: list[Call] = field(default_factory=list)


def answer(talk: Conversation) -> Reply:
    """The model's next message: the tool calls that are still missing, else the answer."""
    reader = Reader(talk.last)
    calls, missing = _calls(talk, reader)
    if calls:
        return Reply(calls=calls if talk.parallel else calls[:1])
    text = _text(talk, reader, missing)
    if talk.schema is None:
        return Reply(_framed(text, talk.system))
    results = "\n".join(call.result for call in talk.done)
    value = Reader(f"{talk.last}\n{results}", reply=text).complete("", talk.schema)
    return Reply(json.dumps(value, ensure_ascii=False))


def _framed(text: str, system: str) -> str:
    """The text with the words that the instructions want around it: begin or end every answer."""
    words = {match[1].lower(): match[2] for match in FRAME.finditer(system)}
    before, after = words.get("begin") or words.get("start"), words.get("end")
    return " ".join(filter(None, (before, text, after)))


def _calls(talk: Conversation, reader: Reader) -> tuple[list[Call], str]:
    """The calls that are worth making, and the name of an argument that is missing for one."""
    done = [(call.tool, call.arguments) for call in talk.done]
    calls, missing = [], ""
    limit = _limit(talk, reader)
    forced = talk.choice not in {"auto", "none"} and not done
    for tool, asked in _wanted(talk, reader, forced=forced):
        due = limit is not None and bool(_about(tool) & limit.words)
        found, lacking = _arguments(tool, reader, forced=forced or due)
        missing = missing or (lacking if asked else "")
        calls += [Call(tool.name, each) for each in found if (tool.name, each) not in done]
    return calls, missing


def _wanted(talk: Conversation, reader: Reader, *, forced: bool) -> list[tuple[Tool, bool]]:
    """The tools that fit, each with whether the user's own words ask for it."""
    tools = [tool for tool in talk.tools if talk.choice in {"auto", "required", tool.name}]
    limit = _limit(talk, reader)
    if limit and not limit.exceeded:
        tools = [tool for tool in tools if not _about(tool) & limit.words]
    asked = [tool for tool in tools if _about(tool) & stems(reader.text)]
    implied = [tool for tool in tools if _about(tool) & stems(talk.system)]
    if asked:
        return [(tool, True) for tool in asked]
    alone = tools[:1] if len(tools) == 1 or forced else []
    return [(tool, False) for tool in implied or alone]


def _about(tool: Tool) -> set[str]:
    return stems(
        f"{tool.name} {tool.description} {' '.join(tool.parameters.get('properties', {}))}"
    )


def _arguments(tool: Tool, reader: Reader, *, forced: bool) -> tuple[list[Json], str]:
    """One set of arguments for each thing that the message names, or what is missing."""
    schema = tool.parameters
    properties = schema.get("properties", {})
    reader.know(schema)
    found = {name: reader.find(name, each) for name, each in properties.items()}
    required = schema.get("required", [])
    lacking = next((name for name in required if not found.get(name)), "")
    if lacking:
        return ([reader.complete("", schema)] if forced else []), lacking
    shared = Counter[str]()  # two numbers for two properties: one each, in order
    first = {}
    for name, values in found.items():
        if values:
            first[name] = values[min(shared[str(values)], len(values) - 1)]
            shared[str(values)] += 1
    for name in required:
        values = found[name]
        if len(values) > 1 and isinstance(values[0], str) and shared[str(values)] == 1:
            return [{**first, name: value} for value in values], ""
    return [first], ""


@dataclass(frozen=True)
class _Limit:
    """An instruction like "more than 1000: ask a human", and the amount that the user names."""

    words: set[str]
    bound: str
    amount: float | None

    @property
    def exceeded(self) -> bool:
        return self.amount is not None and self.amount > float(self.bound.replace(",", ""))


def _limit(talk: Conversation, reader: Reader) -> _Limit | None:
    amounts = reader.find("amount", {"type": "number"})
    for sentence in re.split(r"[*;\n]|\.(?:\s|$)", talk.system):
        match = LIMIT.search(sentence)
        if match:
            return _Limit(stems(sentence), match[1], amounts[0] if amounts else None)
    return None


def _text(talk: Conversation, reader: Reader, missing: str) -> str:
    if talk.done:
        return _report(talk)
    limit = _limit(talk, reader)
    if limit and limit.amount is None and limit.words & stems(reader.text):
        missing = "amount"
    if missing:
        return f"I need one thing more: which {missing.replace('_', ' ')}?"
    if limit and limit.amount is not None and not limit.exceeded:
        return f"Approved: {limit.amount:g} is not more than {limit.bound}, so I decide it myself."
    rules = (_option, _decision, _task, _memory)
    return next((text for rule in rules if (text := rule(talk, reader))), NO_RULE)


def _report(talk: Conversation) -> str:
    facts = " ".join(_sentence(call) for call in talk.done)
    if not _decides(talk):
        return facts
    return f"{'Rejected' if refuses(facts) else 'Approved'}. {facts}"


def _sentence(call: Call) -> str:
    """A call's result as a sentence that says what it is about."""
    names = [value for value in call.arguments.values() if isinstance(value, str)]
    label = names[0] if len(names) == 1 and len(names[0]) < 40 else call.tool.replace("_", " ")
    if FAILED.match(call.result):
        reason = FAILED.sub("", call.result, count=1).rstrip(".") or "no reason given"
        return f"{label}: this could not be done ({reason})."
    result = _plain_words(call.result).rstrip(".")
    return f"{result}." if label.lower() in result.lower() else f"{label}: {result}."


def _plain_words(result: str) -> str:
    try:
        value = json.loads(result)
    except ValueError:
        return result
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {each}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(str(each) for each in value)
    return value if isinstance(value, str) else result


def _decides(talk: Conversation) -> bool:
    return bool(stems(talk.system) & {"appro", "decid", "decis"})


def _decision(talk: Conversation, reader: Reader) -> str:
    if not _decides(talk) or not reader.data:
        return ""
    return "Rejected: an analysis speaks against it." if refuses(reader.text) else "Approved."


def _option(talk: Conversation, _reader: Reader) -> str:
    """For "respond with x if …, and y otherwise": the first whose condition is met."""
    match = re.search(r"respond with (.+?)(?:[.\n]|$)", talk.system, re.I)
    options = re.split(r",?\s+(?:or|and)\s+|,\s*", match[1]) if match else []
    for option in options if len(options) > 1 else []:
        word, _, condition = option.partition(" if ")
        if not condition or stems(condition) - {"claim"} & stems(talk.last):
            return re.sub(r"\s*otherwise$|['\"]", "", word)
    return ""


def _task(talk: Conversation, _reader: Reader) -> str:
    """Small things that can be done with a text, which follows the first colon."""
    order, _, text = talk.last.partition(":")
    if not text or len(order) > 200:
        order, text = talk.system, talk.last
    sentences = [each.strip() for each in re.split(r"(?<=[.!?])\s+", text[:20_000]) if each.strip()]
    order = order.lower()
    if "sentiment" in order:
        words = re.findall(r"\w+", text.lower()[:20_000])
        score = sum(w in GOOD for w in words) - sum(w in BAD for w in words)
        return "positive" if score > 0 else "negative" if score < 0 else "neutral"
    if "key point" in order:
        return "\n".join(f"- {each}" for each in sentences[:3])
    return sentences[0] if re.search(r"summar", order) and sentences else ""


def _memory(talk: Conversation, _reader: Reader) -> str:
    """What the user said in this conversation, and nothing else."""
    *before, last = [text[:20_000] for text in talk.said] or [""]
    if re.search(r"\bwhat did i (?:\w+ ){1,3}?(?:first|before|last|earlier)", last, re.I):
        told = before[0 if "first" in last else -1] if before else ""
        return f'You said: "{told}"' if told else "You have not said anything before this."
    if fact := FACT.search(last):
        return f"Noted: your {fact[1].lower()} is {fact[2].strip()}."
    question = QUESTION.search(last)
    if not question:
        return ""
    wanted = question[1].lower()
    facts = {fact[1].lower(): fact[2].strip() for text in before for fact in FACT.finditer(text)}
    told = facts.get(wanted, "")
    return f"Your {wanted} is {told}." if told else f"You have not told me your {wanted}."
