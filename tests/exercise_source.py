"""An exercise and its solution from one source: the solution, with the stub in its comments."""

import re

__all__ = ["stub"]

BLOCK = re.compile(r"^( *)# stub:\n((?:\1# .*\n)+)(?:.*\n)*?\1# end\n", re.MULTILINE)


def stub(solution: str) -> str:
    """Return the exercise as it is given: each block's solution replaced by its stub.

    A block begins with `# stub:`, goes on with the stub's lines as comments and the solution's
    lines, and ends with `# end`.
    """

    def given(block: re.Match[str]) -> str:
        indent, lines = block[1], block[2].splitlines()
        return "".join(f"{indent}{line.removeprefix(f'{indent}# ')}\n" for line in lines)

    return BLOCK.sub(given, solution)
