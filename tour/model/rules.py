"""Decides what to answer: rules about words and schemas, and none about any one lesson."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from pydantic import BaseModel

from tour.model.reading import SCANNED, Json, Reader, Schema, plain, refuses, stems

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
TRAITS = {"docstring": '"""', "type hint": " -> ", "test": "assert "}  # of code, how they look
SIGNATURE = re.compile(r"\bfunction\b[^`]{0,80}`(\w{1,40})\(([\w, ]{0,80})\)`", re.I)
GOOD = {"best", "enjoy", "excellent", "fast", "glad", "good", "great", "happy", "love", "nice"}
BAD = {"angry", "awful", "bad", "broken", "hate", "late", "poor", "sad", "slow", "terrible"}


class Tool(BaseModel):
    """A function that the model may call."""

    name: str
    description: str | None = None
    parameters: Schema | None = None

    @property
    def about(self) -> set[str]:
        """What its name, its description and its parameters speak of."""
        names = " ".join((self.parameters or {}).get("properties", {}))
        return stems(f"{self.name} {self.description or ''} {names}")


class Call(NamedTuple):
    """A call of a tool, and its result once there is one."""

    tool: str
    arguments: Json
    result: str = ""


class Conversation(NamedTuple):
    """What the model is asked, whichever API it came through."""

    system: str
    said: list[str]  # by the user, oldest first
    done: list[Call]  # since the last of these messages
    tools: list[Tool]
    choice: str  # "auto", "none", "required", or a tool's name
    parallel: bool  # whether a reply may hold several calls
    schema: Json  # of the answer; None if it is plain text

    @property
    def last(self) -> str:
        """The message to be answered."""
        return self.said[-1] if self.said else ""


class Reply(NamedTuple):
    """What the model answers: a text, or calls."""

    text: str
    calls: list[Call]


def answer(talk: Conversation) -> Reply:
    """The model's next message: the tool calls that are still missing, else the answer."""
    reader = Reader(talk.last)
    limit = _limit(talk, reader)
    calls, missing = _calls(talk, reader, limit)
    if calls:
        return Reply("", calls if talk.parallel else calls[:1])
    forced = _forced(talk)
    rules = (_report, _review, _code, _option, _decision, _task, _memory)
    said = _question(reader, limit, "" if forced else missing) if not talk.done else ""
    text = said or next((text for rule in rules if (text := rule(talk, reader))), NO_RULE)
    schema = forced.parameters or {"type": "object"} if forced else talk.schema
    if schema is None:
        return Reply(_framed(text, talk.system), [])
    results = "\n".join(call.result for call in talk.done)
    reader = Reader(f"{talk.last}\n{results}", reply=text, judged=text is not NO_RULE)
    value = reader.complete("", plain(schema))
    if forced:
        return Reply("", [Call(forced.name, value)])
    return Reply(json.dumps(value, ensure_ascii=False), [])


def _framed(text: str, system: str) -> str:
    """The text with the words that the instructions want around it: begin or end every answer."""
    words = {match[1].lower(): match[2] for match in FRAME.finditer(system)}
    before, after = words.get("begin") or words.get("start"), words.get("end")
    return " ".join(filter(None, (before, text, after)))


class _Limit(NamedTuple):
    """An instruction like "more than 1000: ask a human", and the amount that the user names."""

    words: set[str]
    bound: str
    amount: float | None
    exceeded: bool


def _limit(talk: Conversation, reader: Reader) -> _Limit:
    amount = next(iter(reader.find("amount", {"type": "number"})), None)
    for sentence in re.split(r"[*;\n]|\.(?:\s|$)", talk.system):
        if match := LIMIT.search(sentence):
            exceeded = amount is not None and amount > float(match[1].replace(",", ""))
            return _Limit(stems(sentence), match[1], amount, exceeded)
    return _Limit(set(), "", None, exceeded=True)


def _calls(talk: Conversation, reader: Reader, limit: _Limit) -> tuple[list[Call], str]:
    """The calls that are worth making, and the name of an argument that is missing for one."""
    done = [(call.tool, call.arguments) for call in talk.done]
    tools = [tool for tool in talk.tools if talk.choice in {"auto", "required", tool.name}]
    tools = [tool for tool in tools if limit.exceeded or not tool.about & limit.words]
    asked = [tool for tool in tools if tool.about & stems(reader.text)]
    implied = [tool for tool in tools if tool.about & stems(talk.system)]
    alone = tools if len(tools) == 1 else []
    calls, missing = [], ""
    for tool in asked or implied or alone:
        found, lacking = _arguments(tool, reader, must=bool(tool.about & limit.words))
        missing = missing or (lacking if asked else "")
        calls += [Call(tool.name, each) for each in found if (tool.name, each) not in done]
    return calls, missing


def _forced(talk: Conversation) -> Tool | None:
    """The tool that must be called now, however little there is for it; none is forced twice."""
    done = {call.tool for call in talk.done}
    tools = [tool for tool in talk.tools if talk.choice in {"required", tool.name}]
    tools = [tool for tool in tools if tool.name not in done]
    asked = [tool for tool in tools if tool.about & stems(talk.last)]
    return next(iter(asked or tools), None)


def _arguments(tool: Tool, reader: Reader, *, must: bool) -> tuple[list[Json], str]:
    """One set of arguments for each thing that the message names, or what is missing."""
    schema = plain(tool.parameters or {"type": "object"})
    found = {name: reader.find(name, each) for name, each in schema["properties"].items()}
    required = schema["required"]
    if lacking := next((name for name in required if not found.get(name)), ""):
        return ([reader.complete("", schema)] if must else []), lacking
    first, several = {}, ""
    for name, values in found.items():
        alike = [each for each in found if found[each] == values]
        if values:  # two numbers for two properties: one each, in order
            first[name] = values[alike.index(name) % len(values)]
        if name in required and len(alike) == 1 < len(values) and isinstance(values[0], str):
            several = several or name
    return [{**first, several: each} for each in found[several]] if several else [first], ""


def _question(reader: Reader, limit: _Limit, missing: str) -> str:
    """What has to be asked first, or what needs no asking."""
    if limit.amount is None and limit.words & stems(reader.text):
        missing = "amount"
    if missing:
        return f"I need one thing more: which {missing.replace('_', ' ')}?"
    if limit.amount is None or limit.exceeded:
        return ""
    return f"Approved: {limit.amount:g} is not more than {limit.bound}, so I decide it myself."


def _decides(talk: Conversation) -> bool:
    return bool(stems(talk.system) & {"appro", "decid", "decis"})


def _report(talk: Conversation, _reader: Reader) -> str:
    """What the tools have said."""
    facts = " ".join(map(_sentence, talk.done))
    verdict = "Rejected. " if refuses(facts) else "Approved. "
    return verdict + facts if facts and _decides(talk) else facts


def _sentence(call: Call) -> str:
    """A call's result as a sentence that says what it is about."""
    names = [value for value in call.arguments.values() if isinstance(value, str)]
    is_name = len(names) == 1 and len(names[0]) < 40 and len(names[0].split()) < 5
    label = names[0] if is_name else call.tool.replace("_", " ")
    if FAILED.match(call.result):
        reason = FAILED.sub("", call.result, count=1).rstrip(".") or "no reason given"
        return f"{label}: this could not be done ({reason})."
    result = _in_words(call.result).rstrip(".")
    return f"{result}." if label.lower() in result.lower() else f"{label}: {result}."


def _in_words(result: str) -> str:
    try:
        value = json.loads(result)
    except ValueError:
        return result
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {each}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(str(each) for each in value)
    return value if isinstance(value, str) else result


def _review(talk: Conversation, _reader: Reader) -> str:
    """Which of the traits that the instructions name the code in the message has not."""
    if not re.search(r"^\s*def \w", talk.last, re.M) or "review" not in talk.system.lower():
        return ""
    wanted = [trait for trait in TRAITS if trait in talk.system.lower()]
    missing = [f"no {trait}" for trait in wanted if TRAITS[trait] not in talk.last]
    return f"Not approved: there is {', '.join(missing)}." if missing else "Approved."


def _code(talk: Conversation, _reader: Reader) -> str:
    """An outline of a function that is named with its parameters; it writes no test."""
    said = " ".join(talk.said)[:SCANNED]
    if not (signature := SIGNATURE.search(said)):
        return ""
    name, parameters = signature[1], [each.strip() for each in signature[2].split(",")]
    hinted = "type hint" in said.lower()
    listed = ", ".join(f"{each}: str" if hinted else each for each in parameters if each)
    docstring = f'    """An outline of {name}."""\n' if "docstring" in said.lower() else ""
    return f"def {name}({listed}){' -> str' if hinted else ''}:\n{docstring}    ..."


def _option(talk: Conversation, _reader: Reader) -> str:
    """For "respond with x if …, and y otherwise": the first whose condition is met."""
    match = re.search(r"respond with (.+?)(?:[.\n]|$)", talk.system, re.I)
    options = re.split(r",?\s+(?:or|and)\s+|,\s*", match[1]) if match else []
    for option in options if len(options) > 1 else []:
        word, _, condition = option.partition(" if ")
        if not condition or stems(condition) - {"claim"} & stems(talk.last):
            return re.sub(r"\s*otherwise$|['\"]", "", word)
    return ""


def _decision(talk: Conversation, reader: Reader) -> str:
    if not _decides(talk) or not reader.data:
        return ""
    return "Rejected: an analysis speaks against it." if refuses(reader.text) else "Approved."


def _task(talk: Conversation, _reader: Reader) -> str:
    """Small things that can be done with a text, which follows the first colon."""
    order, _, text = talk.last.partition(":")
    if not text or len(order) > 200:
        order, text = talk.system, talk.last
    order, text = order.lower(), text[:SCANNED]
    sentences = [each.strip() for each in re.split(r"(?<=[.!?])\s+", text) if each.strip()]
    if "sentiment" in order:
        words = re.findall(r"\w+", text.lower())
        score = sum(w in GOOD for w in words) - sum(w in BAD for w in words)
        return "positive" if score > 0 else "negative" if score < 0 else "neutral"
    if "key point" in order:
        return "\n".join(f"- {each}" for each in sentences[:3])
    return sentences[0] if "summar" in order and sentences else ""


def _memory(talk: Conversation, _reader: Reader) -> str:
    """What the user said in this conversation, and nothing else."""
    *before, last = [text[:SCANNED] for text in talk.said] or [""]
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
