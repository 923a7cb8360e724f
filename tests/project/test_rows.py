"""tests/README.md: every promise has its proof, and every proof that it names is there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tests.helpers.exercise_source import read

TABLE = (ROOT / "tests" / "README.md").read_text()
PROOF = re.compile(r"`((?:tests|notebooks)/.+?)`")
ROWS = re.findall(r"^\| ([A-Z])(\d+) \| (.+?) \| (.+) \|$", TABLE, re.MULTILINE)
PROOFS = sorted({proof for *_, proofs in ROWS for proof in PROOF.findall(proofs)})
OPEN = "Not here:"


@cache
def headings(notebook: Path) -> dict[str, list[str]]:
    """Return the code below each heading of the second level."""
    below: dict[str, list[str]] = {}
    heading = ""
    for cell in read(notebook).cells:
        if cell.cell_type == "markdown":
            heading = [heading, *re.findall(r"^## (.+)$", cell.source, re.MULTILINE)][-1]
        else:
            below.setdefault(heading, []).append(cell.source)
    return below


def test_the_tables_have_every_row_once_and_in_order() -> None:
    numbers: dict[str, list[int]] = {}
    for letter, number, *_ in ROWS:
        numbers.setdefault(letter, []).append(int(number))
    assert len(numbers["F"]) == 70
    for letter, found in numbers.items():
        assert found == list(range(1, len(found) + 1)), letter


@pytest.mark.parametrize(("letter", "number", "promise", "proofs"), ROWS)
def test_a_row_has_a_proof_or_says_why_not(
    letter: str, number: str, promise: str, proofs: str
) -> None:
    assert len(promise) > 10
    assert PROOF.search(proofs) or (proofs.startswith(OPEN) and len(proofs) > 40)


@pytest.mark.parametrize("proof", PROOFS)
def test_a_proof_is_there(proof: str) -> None:
    if proof.endswith(".ipynb"):
        pytest.fail(f"{proof}: name the heading, as in {proof}#Now kill it")
    path, _, heading = proof.partition("#")
    if heading:
        assert any("assert " in code for code in headings(ROOT / path)[heading])
        return
    path, _, name = proof.partition("::")
    tree = ast.parse((ROOT / path).read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    assert name in {node.name for node in tree.body if isinstance(node, functions)}
    assert name.startswith("test_")
