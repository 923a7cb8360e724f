"""What OPENAI_* may hold, and a prompt that is too long for Restate."""

from pathlib import Path

import pytest
import restate

import tour as t
from tests.helpers.environments import complaint, problems, program, tour
from tests.helpers.serving import Serve
from tour import server
from tour.errors import InvocationFailed

pytestmark = pytest.mark.timeout(120)

START = "import tour\ntour.start()\n"
WRONG_KEYS = ["sk-a b", "“sk-ab”", "'sk-ab'", "sk-ab\nsk-cd", "sk-äb", "sk-a\u200bb", "sk\tab"]
WRONG_URLS = [
    "model.example/v1",
    "localhost:11434",
    "http:/x/v1",
    "http://[::1/v1",
    "http://h:x/v1",
]


def test_variables_that_are_empty_are_not_set(tmp_path: Path) -> None:
    code = START + "import os\nprint(sorted(n for n in os.environ if n.startswith('OPENAI_')))"
    env = {"OPENAI_API_KEY": "", "OPENAI_BASE_URL": " \n", "OPENAI_MODEL": " ", "OPENAI_ORG_ID": ""}
    ran = program(f"{code}\ntour.server.down()", tmp_path, **env)
    *_, model, left = ran.stdout.splitlines()
    assert model.startswith("Model: the offline stand-in")
    assert left == "['OPENAI_API_KEY', 'OPENAI_BASE_URL']"
    assert problems(tmp_path, **env) == []


@pytest.mark.slow
def test_what_was_copied_around_a_value_goes(tmp_path: Path) -> None:
    env = {"OPENAI_API_KEY": " sk-key\n", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1\r\n"}
    code = (
        START
        + "import os\nprint(repr(os.environ['OPENAI_API_KEY'] + os.environ['OPENAI_BASE_URL']))"
    )
    ran = program(f"{code}\ntour.server.down()", tmp_path, **env)
    assert ran.stdout.splitlines()[-1] == "'sk-keyhttp://127.0.0.1:9/v1'"


def said_in(code: str, home: Path, values: list[str], name: str) -> list[str]:
    """Return what `named` says of each of these values of a variable, in one process."""
    each = f"for value in {values!r}:\n    os.environ[{name!r}] = value\n    try:\n        {code}\n"
    ran = program(
        "import os\nfrom tour.errors import TourError\nfrom tour.model import named\n"
        f"{each}    except TourError as error:\n        print(error)",
        home,
        PYTHONIOENCODING="utf-8",
    )
    assert ran.returncode == 0, ran.stdout
    return ran.stdout.splitlines()


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "OPENAI_ORG_ID"])
def test_a_key_that_is_none_is_named_and_not_shown(tmp_path: Path, name: str) -> None:
    said = said_in("named()", tmp_path, WRONG_KEYS, name)
    assert said == [
        f"{name} holds a blank, a quote or another character that no key has: set it again, "
        "without what was copied along."
    ] * len(WRONG_KEYS)
    assert problems(tmp_path, **{name: WRONG_KEYS[1]}) == said[:1]
    if name == "OPENAI_API_KEY":
        started = program(START, tmp_path, **{name: WRONG_KEYS[0]})
        assert started.stdout.splitlines()[-1] == f"tour.errors.TourError: {said[0]}"
        assert WRONG_KEYS[0] not in started.stdout
        lab = tour("lab", str(tmp_path / "copy"), home=tmp_path, **{name: WRONG_KEYS[0]})
        assert complaint(lab) == said[0]


def test_an_address_that_is_none_is_named(tmp_path: Path) -> None:
    said = said_in("named()", tmp_path, WRONG_URLS, "OPENAI_BASE_URL")
    assert said == [
        "OPENAI_BASE_URL is not an address: it must begin with http:// or https://, and most end "
        "with /v1."
    ] * len(WRONG_URLS)
    assert problems(tmp_path, OPENAI_BASE_URL=WRONG_URLS[0]) == said[:1]


# ---- a prompt above the limit of the ingress

long = restate.Service("LongPrompts")


@long.handler()
async def length(ctx: restate.Context, prompt: str) -> int:
    return len(prompt)


@pytest.mark.anyio
async def test_a_prompt_that_is_too_long_is_refused_in_the_server_s_words(serve: Serve) -> None:
    serve(long)
    limit = 32 * 1024 * 1024  # bytes, and two of them are quotes
    assert (await t.call(length, "x" * (limit // 4))).result == limit // 4
    for ask in (t.call, t.send):
        with pytest.raises(InvocationFailed, match="413: length limit exceeded") as refused:
            await ask(length, "x" * (limit - 1))
        assert refused.value.status == 413
    assert server.running()
