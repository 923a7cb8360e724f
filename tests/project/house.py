"""How `tour/` is built: what imports what, how long it is, and what a learner uses of it.

    python -m tests.project.house

prints the map and the figures. What the house promises is in `test_house.py`.
"""

import ast
import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from IPython.core.inputtransformer2 import TransformerManager

from tests.helpers import ROOT
from tests.helpers.exercise_source import NOTEBOOKS, code_cells, read

__all__ = ["LEARNERS", "ORDER", "House", "Source", "cells", "files", "report"]

# From the ground up: a room imports only from those before it.
ORDER = (
    *(
        "quietly",
        "errors",
        "home",
        "asgi",
        "network",
        "server",
        "model",
        "journal",
        "endpoint",
        "invocation",
    ),
    *("exercises", "export", "lab", "cli", "session", "tour", "__main__"),
)
NOT_FOR = {"model": ("tour.server", "restate"), "journal": ("tour.endpoint", "tour.invocation")}
LEARNERS = ("ingress", "admin", "ui", "query", "request", "kill", "cluster")  # of `tour.server`
TOP = "tour"
IN_A_STRING = re.compile(  # the last is for shell lines of notebooks, which take values in braces
    r"from tour[\w.]* import [\w ,]+|import tour\b[\w.]*|(?<={)tour\.[\w.]+"
)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


@dataclass(frozen=True)
class Source:
    """Some code.

    Attributes:
        where: where it stands.
        code: what stands there.
        module: its dotted name, if it is a part of `tour/`.
        goes_on: whether a cell before it has imported the tour.
    """

    where: str
    code: str
    module: str = ""
    goes_on: bool = False

    def trees(self) -> Iterator[tuple[int, ast.AST]]:
        """Return its syntax, and that of the programs which it has as strings, with their lines."""
        plain = TransformerManager().transform_cell(self.code)  # type: ignore[no-untyped-call]
        tree = ast.parse(plain)
        yield 0, tree
        for node in ast.walk(tree):
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and IN_A_STRING.search(text):
                yield getattr(node, "lineno", 1), _program(text)

    @property
    def lines(self) -> int:
        """How long it is."""
        return len(self.code.splitlines())


def _program(text: str) -> ast.AST:
    """Return the syntax of a program in a string; of prose, only the imports that it names."""
    for code in (textwrap.dedent(text), "\n".join(IN_A_STRING.findall(text))):
        try:
            return ast.parse(code)
        except SyntaxError:
            continue
    return ast.parse("")


@dataclass(frozen=True)
class Use:
    """A name of the tour that some code uses.

    Attributes:
        line: where.
        path: such as "tour.server.find".
        how: by `import`, by `from` … import, or as an `attribute` of what was imported.
        typed: whether it is imported for type checkers alone.
    """

    line: int
    path: str
    how: str
    typed: bool = False

    @property
    def names(self) -> list[str]:
        """What comes after `tour`."""
        return self.path.split(".")[1:]


@dataclass
class House:
    """The package, by the dotted names of its modules."""

    modules: dict[str, Source] = field(default_factory=dict)

    @classmethod
    def of(cls, sources: Iterable[Source]) -> "House":
        """Build it of the package's files."""
        return cls({each.module: each for each in sources})

    @property
    def rooms(self) -> list[str]:
        """All rooms, in the order in which they were found."""
        return [*dict.fromkeys(map(self.room, self.modules))]

    def room(self, module: str) -> str:
        """Return the room of a module, or of a name that a module has."""
        room = ".".join(module.split(".")[:2])
        return room.removeprefix(f"{TOP}.") if room in self.modules else TOP

    def door(self, room: str) -> list[str]:
        """Return what a room exports."""
        source = self.modules[TOP if room == TOP else f"{TOP}.{room}"]
        names: list[str] = []
        for node in ast.parse(source.code).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                names = list(ast.literal_eval(node.value))
            elif isinstance(node, ast.AugAssign) and ast.unparse(node.target) == "__all__":
                names += ast.literal_eval(node.value)
        return names

    def uses(self, source: Source) -> Iterator[Use]:
        """Return what code uses of the tour, as far as this can be seen without running it."""
        for line, tree in source.trees():
            names = _Names(source.module, source.where.endswith("__init__.py"))
            if source.goes_on or line:
                names.bound[TOP] = TOP
            names.visit(tree)
            for use in names.found:
                yield replace(use, line=line + use.line)

    def past_doors(self, source: Source) -> Iterator[str]:
        """Name what reaches past a door."""
        own = self.room(source.module) if source.module else ""
        for use in self.uses(source):
            room = self.room(use.path)
            inside = use.names[room != TOP :]
            open_ = not inside or inside[0] in self.door(room) or inside[0].startswith("__")
            if own != room and (not open_ or (use.how == "import" and use.names)):
                yield f"{source.where}:{use.line}: {use.path} is behind the door of {room}"

    def upward(self, source: Source) -> Iterator[str]:
        """Name the imports from a room that is not below."""
        own = self.room(source.module)
        for use in self.uses(source):
            room = self.room(use.path)
            if use.how != "attribute" and room != own and ORDER.index(room) >= ORDER.index(own):
                yield f"{source.where}:{use.line}: {own} imports from {room}, which is above it"

    def unwanted(self, source: Source) -> Iterator[str]:
        """Name the packages that a room must not know."""
        own = self.room(source.module)
        no_jupyter = own in ORDER[: ORDER.index("lab")]
        banned = NOT_FOR.get(own, ()) + (("nbformat",) if no_jupyter else ())
        for node in ast.walk(ast.parse(source.code)):
            found = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if isinstance(node, ast.Import):
                found = [name.name for name in node.names]
            if isinstance(node, ast.ImportFrom):
                found += [f"{node.module}.{name.name}" for name in node.names]
            for name in found:
                jupyter = no_jupyter and name.startswith("jupyter")
                if jupyter or any(f"{name}.".startswith(f"{word}.") for word in banned):
                    yield f"{source.where}: {own} imports {name}"

    def edges(self, *, rooms: bool = True) -> dict[str, set[str]]:
        """Return what each room imports from, or each module."""
        found: dict[str, set[str]] = {}
        for name, source in self.modules.items():
            own = self.room(name) if rooms else name
            mine = found.setdefault(own, set())
            for use in self.uses(source):
                if use.how != "attribute" and not use.typed:
                    mine.add(self.room(use.path) if rooms else self.module_of(use.path))
            mine.discard(own)
        return found

    def module_of(self, path: str) -> str:
        """Return the module that has a name."""
        return path if path in self.modules else path.rpartition(".")[0]

    def cycle(self, *, rooms: bool = True) -> list[str]:
        """Return the rooms, or the modules, of a circle, if there is one."""
        try:
            TopologicalSorter(self.edges(rooms=rooms)).prepare()
        except CycleError as error:
            return list(error.args[1])
        return []

    def not_a_learners(self, source: Source) -> Iterator[str]:
        """Name what code for learners uses besides the learner's surface."""
        for use in self.uses(source):
            good = not use.names or use.names[0] in self.door(TOP)
            if use.names[:1] == ["server"] and use.names[1:]:
                good = use.names[1] in LEARNERS
            if not good or len(use.names) > {"import": 0, "from": 1}.get(use.how, 9):
                yield f"{source.where}:{use.line}: {use.path} is not for learners"

    def functions(self) -> Iterator[tuple[int, str]]:
        """Return how long each function is, and its name."""
        for name, source in self.modules.items():
            for node in ast.walk(ast.parse(source.code)):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield (node.end_lineno or 0) - node.lineno + 1, f"{name}.{node.name}"

    def lines(self, *rooms: str) -> int:
        """Return how long some rooms are together."""
        return sum(s.lines for name, s in self.modules.items() if self.room(name) in rooms)


class _Names(ast.NodeVisitor):
    """Collects the names of the tour in one piece of code, imported or reached by attributes."""

    def __init__(self, module: str, is_door: bool) -> None:
        self.found: list[Use] = []
        self._package = module if is_door else module.rpartition(".")[0]
        self.bound: dict[str, str] = {}  # what a name here stands for
        self._hidden: list[set[str]] = []
        self._typed = False

    def visit_Import(self, node: ast.Import) -> None:
        for name in node.names:
            if name.name.split(".")[0] == TOP:
                self.found.append(Use(node.lineno, name.name, "import", self._typed))
                self.bound[name.asname or TOP] = name.name if name.asname else TOP

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = node.module or ""
        if node.level:
            parents = self._package.split(".")
            base = ".".join([*parents[: len(parents) - node.level + 1], *filter(None, [base])])
        if base.split(".")[0] == TOP:
            for name in node.names:
                path = f"{base}.{name.name}"
                self.found.append(Use(node.lineno, path, "from", self._typed))
                self.bound[name.asname or name.name] = path

    def visit_If(self, node: ast.If) -> None:
        self._typed = ast.unparse(node.test).endswith("TYPE_CHECKING")
        self.generic_visit(node)
        self._typed = False

    def visit_Attribute(self, node: ast.Attribute) -> None:
        parts: list[str] = []
        inner: ast.expr = node
        while isinstance(inner, ast.Attribute):
            parts.insert(0, inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name) and inner.id in self.bound:
            if not any(inner.id in names for names in self._hidden):
                path = ".".join([self.bound[inner.id], *parts])
                self.found.append(Use(node.lineno, path, "attribute"))
        elif not isinstance(inner, ast.Name):
            self.visit(inner)

    def generic_visit(self, node: ast.AST) -> None:
        if isinstance(node, FUNCTIONS):  # a parameter or a variable of it may have a room's name
            inside = list(ast.walk(node))
            names = {each.arg for each in inside if isinstance(each, ast.arg)}
            names |= {
                each.id
                for each in inside
                if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
            }
            self._hidden.append(names)
            super().generic_visit(node)
            self._hidden.pop()
        else:
            super().generic_visit(node)


def files(*patterns: str) -> list[Source]:
    """Return the Python files of the repository that fit some patterns."""
    found = sorted(path for pattern in patterns for path in ROOT.glob(pattern))
    return [_file(path) for path in found if "node_modules" not in path.parts]


def _file(path: Path) -> Source:
    where = path.relative_to(ROOT)
    inside = where.parts[0] == TOP
    module = ".".join(where.with_suffix("").parts).removesuffix(".__init__") if inside else ""
    return Source(str(where), path.read_text(), module)


def cells() -> list[Source]:
    """Return the code cells of the notebooks, and whatever code lies beside them."""
    found = []
    for path in NOTEBOOKS:
        code = [cell.source for cell in code_cells(read(path))]
        found += [
            Source(f"{path.stem}, cell {n}", source, goes_on=True)
            for n, source in enumerate(code, 1)
        ]
    return found + [replace(each, goes_on=True) for each in files("notebooks/**/*.py")]


def report(house: House) -> str:
    """Return the map and the figures."""
    edges = house.edges()
    lines = [f"{len(edges)} rooms, {sum(map(len, edges.values()))} imports between them"]
    sizes = {room: house.lines(room) for room in house.rooms}
    for room in sorted(edges, key=ORDER.index):
        below = ", ".join(sorted(edges[room], key=ORDER.index))
        lines.append(f"{room:11} {sizes[room]:5} lines  {below}")
    file = max(house.modules.values(), key=lambda source: source.lines)
    length, name = max(house.functions())
    small = house.lines("journal", "endpoint", "invocation")
    own = sum(sizes.values()) - sizes["model"] - sizes["exercises"]
    lines += [
        f"longest file: {file.where}, {file.lines} lines; longest function: {name}, {length}",
        f"journal, endpoint and invocation: {small}; all without model and exercises: {own}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(report(House.of(files("tour/**/*.py"))))
