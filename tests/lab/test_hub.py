"""The Restate UI through a hub: where its links lead, and what of its pages is rewritten.

`make browser` clicks on such a link, below a hub's path, with jupyter-server-proxy in between.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from pathlib import Path

import httpx
import pytest
import restate

import tour
from tests.helpers.serving import Serve
from tour import server
from tour.lab import restate_ui
from tour.server import Server

PREFIX = "JUPYTERHUB_SERVICE_PREFIX"  # as JupyterHub names it
LOCAL = Server("http://127.0.0.1:8080", "http://127.0.0.1:9070")
ELSEWHERE = Server("https://x.restate.cloud:8080", "https://me:secret@x.restate.cloud:9070")
PATH = re.compile(r"""(.)/ui/[^"'`\s]*""")
HTML = {"Content-Type": "text/html; charset=utf-8"}
JAVASCRIPT = {"Content-Type": "text/javascript"}

agent = restate.Service("HubAgent")


@agent.handler()
async def say(ctx: restate.Context, word: str) -> str:
    return word


@dataclass
class Response:
    """As much of jupyter-server-proxy's as is used."""

    headers: dict[str, str]
    body: bytes = field(repr=False)


@pytest.fixture
def in_a_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PREFIX, "/user/me/")


@pytest.fixture(scope="module")
def ui() -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.up().admin) as client:
        yield client


def passed_on(response: Response) -> Response:
    restate_ui()["rewrite_response"](response=response)
    return response


# ---- where the links lead


@pytest.mark.anyio
async def test_a_normal_lab_has_the_server_s_own_address(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(PREFIX, raising=False)
    admin = server.up().admin
    tour.start()
    assert f"its UI at {admin}" in capsys.readouterr().out
    serve(agent)
    run = await tour.call(say, "hello")
    assert f'href="{admin}/ui/invocations/{run.id}"' in run.timeline._repr_html_()


@pytest.mark.anyio
@pytest.mark.usefixtures("in_a_hub")
async def test_in_a_hub_it_is_a_path_below_the_lab_s(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    tour.start()
    assert re.search(r"its UI at /user/me/restate( \(|$)", capsys.readouterr().out, re.MULTILINE)
    serve(agent)
    run = await tour.call(say, "hello")
    assert f'href="/user/me/restate/ui/invocations/{run.id}"' in run.timeline._repr_html_()


@pytest.mark.usefixtures("in_a_hub")
def test_a_server_elsewhere_keeps_its_address_in_a_hub() -> None:
    assert server.ui_of(ELSEWHERE.admin) == "https://x.restate.cloud:9070"
    assert server.ui_of(LOCAL.admin) == "/user/me/restate"
    assert server.ui_of("http://localhost:9070") == "/user/me/restate"


# ---- what jupyter-server-proxy is told


def test_jupyter_server_proxy_finds_it_under_its_name() -> None:
    assert [*entry_points(group="jupyter_serverproxy_servers").names] == ["restate"]
    [point] = entry_points(group="jupyter_serverproxy_servers", name="restate")
    assert point.load() is restate_ui


def test_it_leads_to_the_server_that_runs_or_will(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert restate_ui()["port"] == server.up().ports[1]
    assert "command" not in restate_ui()
    monkeypatch.setenv("TOUR_HOME", str(tmp_path))
    assert restate_ui()["port"] == 9070
    dead = '{"tour": {"ingress": "http://127.0.0.1:8081", "admin": "http://127.0.0.1:9071"}}'
    (tmp_path / "server.json").write_text(dead)
    assert server.running() is None
    assert restate_ui()["port"] == 9071


def test_nothing_goes_to_a_server_that_is_somebody_else_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = server.up()
    told = restate_ui()
    assert told["mappath"](path="/query") == "/query"
    monkeypatch.setattr(
        "tour.server.single._named", lambda: replace(ours, admin="http://127.0.0.1:9071")
    )
    with pytest.raises(tour.TourError, match=f"at port {ours.ports[1]}. Restart the lab"):
        told["mappath"](path="/query")
    monkeypatch.undo()
    monkeypatch.setenv("TOUR_HOME", str(tmp_path))
    with pytest.raises(tour.TourError, match="Restart the lab"):
        told["mappath"](path="/query")


# ---- what is rewritten


def code_of(ui: httpx.Client) -> Iterator[httpx.Response]:
    """Yield the UI's page and every module that it may load."""
    page = ui.get("/ui/").raise_for_status()
    manifest = re.search(r"/ui/assets/manifest-\w+\.js", page.text)
    assert manifest
    listed = ui.get(manifest[0]).text
    yield page
    for path in sorted(set(re.findall(r"/ui/assets/[^\"]+\.js", page.text + listed))):
        yield ui.get(path).raise_for_status()


@pytest.mark.usefixtures("in_a_hub")
def test_every_path_in_the_ui_s_code_is_moved_and_nothing_else(ui: httpx.Client) -> None:
    code = list(code_of(ui))
    assert len(code) > 20
    for original in code:
        kind = original.headers["content-type"]
        assert kind.partition(";")[0] in {"text/html", "text/javascript"}
        assert {found[1] for found in PATH.finditer(original.text)} <= {'"'}, original.url
        moved = passed_on(Response({"Content-Type": kind}, original.content)).body.decode()
        script = re.search(r"<script>\n\{.*?</script>", moved, re.DOTALL)
        rest = moved.replace(script[0], "") if script else moved
        assert rest.count('"/user/me/restate/ui/') == original.text.count('"/ui/')
        assert rest.replace("/user/me/restate", "") == original.text


@pytest.mark.usefixtures("in_a_hub")
def test_a_page_moves_what_its_code_asks_before_any_code_runs(ui: httpx.Client) -> None:
    page = ui.get("/ui/invocations/inv_1").raise_for_status()
    moved = passed_on(Response(HTML, page.content)).body.decode()
    first = moved.index("<script")
    assert moved[first:].startswith("<script>\n{\n    const ask = window.fetch;")
    assert '"/user/me/restate" + url.pathname' in moved
    assert "PLACE" not in moved
    assert '{"basename":"/user/me/restate/ui/"' in moved


@pytest.mark.usefixtures("in_a_hub")
@pytest.mark.parametrize("kind", ["application/json", "text/css", "image/png", "text/plain", None])
def test_answers_of_the_api_are_left_alone(kind: str | None) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    body = b'{"what an agent said": "/ui/ and <head>"}'
    assert passed_on(Response(headers, body)).body == body


def test_without_a_hub_the_proxy_is_at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PREFIX, raising=False)
    assert (
        passed_on(Response(JAVASCRIPT, b'import "/ui/x.js"')).body == b'import "/restate/ui/x.js"'
    )
