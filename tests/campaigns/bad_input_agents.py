"""Bad input for every handler of a notebook's agents, through the ingress of a real server."""

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import httpx
from schemathesis.core.failures import Failure, FailureGroup

import tour
from tests.campaigns.bad_requests import (
    KEYS,
    OWN_BODIES,
    AnyCase,
    Client,
    NoAnswer,
    Operation,
    Request,
    by_field,
    generated,
    operations,
)
from tests.campaigns.findings import Row
from tour import server
from tour.endpoint import AnyService
from tour.errors import Refused
from tour.export import load

__all__ = ["fuzz", "services_of"]

CALL, SEND = "/restate/call/", "/restate/send/"
UNFINISHED = "select id from sys_invocation where status != 'completed'"
RESTING = {"completed", "suspended", "pending", "scheduled"}
PATIENCE = 120.0  # seconds that the invocations of a handler have to come to rest
TRIES = 3  # after so many, with growing pauses between them, an invocation is retrying


@dataclass
class Sent:
    """A request that became an invocation."""

    request: Request
    invocation: str


def services_of(number: str) -> list[AnyService]:
    """Load the services of a notebook, as `tour export` does."""
    return [each for each in vars(load(number)).values() if isinstance(each, AnyService)]


def fuzz(services: list[AnyService], cases: int, seed: int) -> list[Row]:
    """Serve some services, send bad input to each of their handlers, and judge what comes of it."""
    endpoint = tour.serve(*services)
    try:
        return [
            _fuzz_handler(Row(name, server.ensure().ingress), operation, cases, seed)
            for service in services
            if not service.ingress_private  # its document has its handlers all the same
            for name, operation in _operations(service.name)
        ]
    finally:
        _kill(row["id"] for row in server.query(UNFINISHED))
        endpoint.stop()


def _operations(service: str) -> Iterator[tuple[str, Operation]]:
    """Read the operations that call a handler out of the service's own OpenAPI document."""
    # Whoever waits is suspended soon, so that it can be told from one that is at work.
    server.request("PATCH", f"/services/{service}", json={"inactivity_timeout": "100ms"})
    document = server.request("GET", f"/services/{service}/openapi").json()
    document["paths"] = {p: item for p, item in document["paths"].items() if p.startswith(CALL)}
    # This header is the server's own business, and most values of it keep a case from the handler.
    del document["components"]["parameters"]["idempotencyKeyHeader"]
    for item in document["paths"].values():
        for operation in item.values():
            named = operation.get("parameters", [])
            operation["parameters"] = [each for each in named if "dempotency" not in str(each)]
            operation["x-repeats"] = len(named) > len(operation["parameters"])
    for operation in operations(document):
        yield operation.path.removeprefix(CALL), operation


def _fuzz_handler(row: Row, operation: Operation, cases: int, seed: int) -> Row:
    with Client(row.base) as client:
        sent = [
            Sent(request, invocation)
            for request in _requests(operation, cases, seed)
            if (invocation := _send(row, request, client))
        ]
        _come_to_rest()
        _judge_all(row, sent, operation, client)
    return row


def _send(row: Row, request: Request, client: Client) -> str | None:
    """Send a request, and return the invocation that it became; if none, judge the answer."""
    try:
        reply = client.send(request)
    except NoAnswer as error:
        row.find(f"no answer: {error}", request)
        return None
    if reply.is_success and request.path.startswith(SEND):
        return str(reply.json()["invocationId"])
    if reply.is_success:
        row.find(f"taken, though there is no such handler: {_said(reply)}", request)
    else:
        _judge(row, request, reply, None)
    return None


def _requests(operation: Operation, cases: int, seed: int) -> Iterator[Request]:
    """All requests to one handler: what waits for a human must not keep us, so they are sent."""
    path = operation.path.replace(CALL, SEND)
    keyed = "{key}" in path
    # Requests that share a key find what the ones before them left behind; a workflow runs once.
    together = 3 if operation.definition.raw.get("x-repeats") else 1

    def with_key(case: AnyCase, place: int) -> None:
        if keyed:
            case.path_parameters["key"] += f"~{seed}-{place // together}"

    for request in generated(operation, cases, seed, with_key):
        yield replace(request, method="POST", path=request.path.replace(CALL, SEND))
    body = operation.definition.raw.get("requestBody", {}).get("content", {})
    (schema,) = [each["schema"] for each in body.values()] or [{}]
    own = [*OWN_BODIES, *by_field(_resolved(operation, schema), {})]
    few = Random(f"{seed} {path}")  # a short campaign takes some of ours, for each handler others
    for place, request in enumerate(few.sample(own, min(cases, len(own)))):
        key = f"{KEYS[place % 10]}~{seed}-{place // together}"
        yield replace(request, method="POST", path=path.replace("{key}", key))
    for key in few.sample(KEYS, min(cases, len(KEYS))) if keyed else []:
        yield Request("POST", path.replace("{key}", key))
    called = operation.path.replace("{key}", f"other~{seed}")
    for other in (f"{called}Nothing", f"{called}/extra/parts", called.rpartition("/")[0], "/", "*"):
        yield Request("POST", other)
    for method in ("PUT", "DELETE", "PATCH", "HEAD"):
        yield Request(method, called)


def _resolved(operation: Operation, schema: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = operation.schema.raw_schema["components"]["schemas"].get(name, schema)
    return found


def _come_to_rest() -> None:
    """Wait until nothing is at work any more, all agents that our agents call included."""
    active = (
        "select id, status from sys_invocation where status in ('ready', 'running') "
        f"or status = 'backing-off' and retry_count < {TRIES}"
    )
    end = time.monotonic() + PATIENCE
    quiet = 0
    while quiet < 2 and time.monotonic() < end:  # twice: one that ends may wake another
        quiet = 0 if server.query(active) else quiet + 1
        time.sleep(0.05)


def _judge_all(row: Row, sent: list[Sent], operation: Operation, client: Client) -> None:
    rows = server.query("select id, status, invoked_by_id, target from sys_invocation")
    statuses = {each["id"]: each["status"] for each in rows}
    events = "select id from sys_journal_events where event_type = 'TransientError'"
    failed = Counter(each["id"] for each in server.query(events))
    parents = {each["id"]: each["invoked_by_id"] for each in rows if "invoked_by_id" in each}
    stuck: dict[str, str] = {}
    for each in rows:
        if said := _stuck(each):
            first = each["id"]
            while first in parents:  # it is the finding of the request that it comes from
                first = parents[first]
            stuck |= {each["id"]: said, first: said}
    for one in sent:
        if one.invocation in stuck:
            row.find(stuck[one.invocation], one.request)
        elif statuses[one.invocation] != "completed":
            row.counts["waits"] += 1
        else:
            got = client.send(Request("GET", f"/restate/invocation/{one.invocation}/attach"))
            if got.is_error and failed[one.invocation]:
                row.find(f"failed after retries: {_said(got)}", one.request)
            else:
                _judge(row, one.request, got, operation)
    _kill(stuck)


def _kill(invocations: Iterable[str]) -> None:
    for each in invocations:
        try:
            server.request("PATCH", f"/invocations/{each}/kill")
        except Refused as refusal:
            if refusal.status != httpx.codes.CONFLICT:  # it has ended with one killed before it
                raise


def _stuck(row: server.Row) -> str:
    """What is wrong with an invocation that has come to rest; nothing if it ended or waits."""
    if row["status"] in RESTING:
        return ""
    events = server.query(
        f"select event_json from sys_journal_events where id = '{row['id']}' "
        "order by appended_at desc limit 1"
    )
    error = json.loads(events[0]["event_json"]).get("error_message", "") if events else ""
    return f"left {row['status']} at {row['target'].split('/')[0]}: {error[:300]}"


def _judge(row: Row, request: Request, reply: httpx.Response, operation: Operation | None) -> None:
    """Count a response, or note what is wrong with it."""
    if reply.is_success:
        wrong = _nonconformity(reply, operation)
    else:
        wrong = _untyped(reply, request) or _nonconformity(reply, operation)
    if wrong:
        row.find(wrong, request)
    else:
        outcome = "typed" if reply.is_server_error else f"{reply.status_code // 100}xx"
        row.counts[outcome] += 1


def _untyped(reply: httpx.Response, request: Request) -> str:
    """Why a failure is not one that Restate documents."""
    if request.method == "HEAD" and 400 <= reply.status_code < 500:
        return ""  # has no body
    try:
        said = reply.json()
        typed = isinstance(said["message"], str) and said["code"] == reply.status_code
        source = said.get("source")
    except (ValueError, KeyError, TypeError):
        return f"an untyped failure: {_said(reply)}"
    if not typed or source not in {"ingress", "invocation"}:
        return f"an untyped failure: {_said(reply)}"
    if reply.is_server_error and source == "ingress":
        return f"a failure of the server: {_said(reply)}"
    return f"a stack trace: {_said(reply)}" if "Traceback" in reply.text else ""


def _said(reply: httpx.Response) -> str:
    return f"{reply.status_code} {reply.text[:300]}"


def _nonconformity(reply: httpx.Response, operation: Operation | None) -> str:
    """Why a response is not what the OpenAPI document says."""
    if operation is None:
        return ""
    try:
        operation.validate_response(reply)
    except (Failure, FailureGroup) as error:
        return f"not what the document says: {error} {_said(reply)}"
    return ""
