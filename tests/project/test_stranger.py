"""What another user of this machine can do to a learner, for the README to say it as it is.

Ports of this machine know no users. So each of these is done with what everybody here has: the
addresses. Where one of them fails one day, Restate has got a lock that the tour should use.
"""

import base64
import re
import secrets
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import restate

from tests.helpers.outside import set_for_servers
from tests.helpers.serving import Serve
from tour import server
from tour.asgi import App, AsgiServer
from tour.endpoint import thread

INVENTED = "what a stranger has invented"
PROTOCOL = {"content-type": "application/vnd.restate.invocation.v5"}
SIGNING = "RESTATE_WORKER__INVOKER__REQUEST_IDENTITY_PRIVATE_KEY_PEM_FILE"
ED25519 = bytes.fromhex(
    "302e020100300506032b657004220420"
)  # what a private key begins with, in DER


def payer() -> restate.Service:
    """Return a service whose one step a stranger would like to skip."""
    service = restate.Service("Payer")

    @service.handler()
    async def pay(ctx: restate.Context, who: str) -> str:
        return f"{who}: " + await ctx.run_typed("pay", lambda: "paid")

    return service


def field(number: int, value: int | bytes) -> bytes:
    """Write one field of a protocol buffer, below 128 in number, value and length."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    return bytes([number << 3 | 2, len(value)]) + value


def message(kind: int, *fields: bytes) -> bytes:
    """Frame a message of Restate's service protocol."""
    body = b"".join(fields)
    return struct.pack(">HHI", kind, 0, len(body)) + body


def made_up_journal() -> bytes:
    """Return an invocation that no server knows, with the step's result in its journal."""
    result = field(1, f'"{INVENTED}"'.encode())
    return (
        message(0x0000, field(1, b"i" * 24), field(2, b"inv_made_up"), field(3, 3))
        + message(0x0400, field(14, field(1, b'"stranger"')))
        + message(0x0411, field(11, 1), field(12, b"pay"))
        + message(0x8011, field(1, 1), field(5, result))
    )


def invoke(port: int, **headers: str) -> httpx.Response:
    """Send it to an endpoint, past every server."""
    url = f"http://127.0.0.1:{port}/invoke/Payer/pay"
    return httpx.post(url, content=made_up_journal(), headers=PROTOCOL | headers)


def test_whoever_knows_the_addresses_calls_agents_and_reads_journals(serve: Serve) -> None:
    serve(payer())
    running = server.ensure()
    paid = httpx.post(f"{running.ingress}/Payer/pay", json="stranger")
    assert paid.json() == "stranger: paid"
    query = {"query": "select raw from sys_journal"}
    rows = httpx.post(f"{running.admin}/query", json=query, headers={"accept": "application/json"})
    assert b"stranger: paid".hex() in rows.text


def test_any_web_page_may_call_the_ingress_but_not_the_admin_api(serve: Serve) -> None:
    serve(payer())
    running = server.ensure()
    page = {"origin": "https://a-page.example"}
    paid = httpx.post(f"{running.ingress}/Payer/pay", json="page", headers=page)
    assert paid.headers["access-control-allow-origin"] == page["origin"]
    asked = page | {
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type",
    }
    allowed = httpx.options(f"{running.ingress}/Payer/pay", headers=asked)
    assert allowed.headers["access-control-allow-headers"] == "content-type"
    for path in ("/query", "/deployments"):
        refused = httpx.options(f"{running.admin}{path}", headers=asked)
        assert (refused.status_code, "access-control-allow-origin" in refused.headers) == (
            405,
            False,
        )
        plain = httpx.post(
            f"{running.admin}{path}", content="{}", headers={"content-type": "text/plain"}
        )
        assert plain.status_code == 415


def test_an_endpoint_believes_a_journal_that_is_made_up(serve: Serve) -> None:
    answer = invoke(serve(payer()).port)
    assert answer.status_code == 200
    assert INVENTED.encode() in answer.content


# ---- request identity, and why the tour does without


@pytest.fixture
def signing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Start a server that signs its requests; yield its public key."""
    pem = tmp_path / "key.pem"
    key = base64.b64encode(ED25519 + secrets.token_bytes(32)).decode()
    pem.write_text(f"-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\n")
    monkeypatch.setenv("TOUR_HOME", str(tmp_path))
    settings = {SIGNING: str(pem), "RESTATE_LOG_FILTER": "off,restate_service_client=info"}
    set_for_servers(monkeypatch, **settings)
    server.up()
    try:
        log = (tmp_path / "logs" / "restate-server.log").read_text()
        [public] = set(re.findall(r"publickeyv1_\w+", log))
        yield public
    finally:
        server.down()


@contextmanager
def registered(app: App) -> Iterator[int]:
    """Serve an endpoint and tell the server, which asks nobody who he is."""
    endpoint = AsgiServer(app, thread())
    try:
        body = {"uri": f"http://127.0.0.1:{endpoint.port}", "force": True}
        httpx.post(f"{server.ensure().admin}/deployments", json=body).raise_for_status()
        yield endpoint.port
    finally:
        endpoint.stop()


@pytest.mark.slow
def test_request_identity_does_not_keep_a_stranger_out(signing: str) -> None:
    """Who can register an endpoint of his own is sent a signature that ours takes."""
    ingress = f"{server.ensure().ingress}/Payer/pay"
    taken: list[str] = []
    theirs = restate.app([payer()])

    async def eavesdropping(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/invoke/Payer/pay":
            taken.extend(v.decode() for k, v in scope["headers"] if k == b"x-restate-jwt-v1")
        await theirs(scope, receive, send)

    with registered(restate.app([payer()], identity_keys=[signing])) as ours:
        assert httpx.post(ingress, json="learner").json() == "learner: paid"
        assert invoke(ours).status_code == 401  # so far it does what it is for
        with registered(eavesdropping):
            assert httpx.post(ingress, json="stranger").json() == "stranger: paid"
        signed = {"x-restate-signature-scheme": "v1", "x-restate-jwt-v1": taken[0]}
        answer = invoke(ours, **signed)
        assert answer.status_code == 200
        assert INVENTED.encode() in answer.content
