"""The tree is the architecture: these rules hold for every file, and each of them can fail.

The rules are functions from a tree to the list of its violations. The tests run them on this
checkout; the second half of the file runs them on small bad trees, one for each rule.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# An import may only go to the left, or stay in its package.
LAYERS = ("binlog", "appliers", "snapshots", "consumers")
# These know all the layers; in return nothing outside them knows them.
KNOWS_ALL = (
    "binlog.cli",
    "binlog.drills",
    "binlog.testing",
    "binlog.pytest_drills",
    "binlog.pytest_plugin",
)
# A library of a service, and the words of which one must stand in the name of a file that uses it,
# or of its folder.
SERVICE_LIBRARIES = {
    "boto3": {"aws", "dynamodb", "kinesis", "lambda", "s3"},
    "botocore": {"aws", "dynamodb", "kinesis", "lambda", "s3"},
    "amazon_kclpy": {"kcl"},
}
IN_ONE_FILE = ("amazon_kclpy",)
LINES_MAX = 400
TEST_LINES_MAX = 600

Rule = Callable[[Path], list[str]]


def sources(root: Path, *folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((root / folder).rglob("*.py"))


def module_of(root: Path, path: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) of each import, wherever in the file it stands.

    `from a import b` yields `a.b`: whether b is a module or a name in one is the same to the rules.
    Relative imports are refused by ruff. Imports by a constant name count too.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        match node:
            case ast.Import():
                yield from ((node.lineno, alias.name) for alias in node.names)
            case ast.ImportFrom(module=str(module), level=0):
                yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)
            case ast.Call(
                func=ast.Name(id="__import__" | "import_module")
                | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield node.lineno, name
            case _:
                pass


def inside(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def imports_against_the_direction(root: Path) -> list[str]:
    found = []
    for path in sources(root, *LAYERS):
        importer = module_of(root, path)
        own = LAYERS.index(importer.partition(".")[0])
        for line, name in imports_of(path):
            where = f"{path.relative_to(root)}:{line}: {importer} imports {name}"
            if inside(name, "tests", "scripts"):
                found.append(f"{where}, which is not part of the distribution")
            elif inside(importer, *KNOWS_ALL):
                continue
            elif inside(name, *KNOWS_ALL):
                found.append(f"{where}, which only {' and '.join(KNOWS_ALL)} may")
            elif inside(name, *LAYERS[own + 1 :]):
                found.append(f"{where}, against {' <- '.join(LAYERS)}")
    return found


def service_libraries_in_other_files(root: Path) -> list[str]:
    found = []
    users: dict[str, set[Path]] = {library: set() for library in IN_ONE_FILE}
    for path in sources(root, *LAYERS):
        words = {*path.stem.split("_"), *path.relative_to(root).parent.parts}
        for line, name in imports_of(path):
            library = name.partition(".")[0]
            wanted = SERVICE_LIBRARIES.get(library)
            if wanted is not None and not words & wanted:
                found.append(
                    f"{path.relative_to(root)}:{line}: imports {library}; only files named for "
                    f"one of {', '.join(sorted(wanted))} may"
                )
            if library in users:
                users[library].add(path.relative_to(root))
    for library, paths in users.items():
        if len(paths) > 1:
            found.append(
                f"{library} is used by {', '.join(map(str, sorted(paths)))}: one file only"
            )
    return found


def files_too_long(root: Path) -> list[str]:
    return [
        f"{path.relative_to(root)}: {count} lines of at most {bound}: what is its second noun?"
        for bound, folders in ((LINES_MAX, (*LAYERS, "scripts")), (TEST_LINES_MAX, ("tests",)))
        for path in sources(root, *folders)
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > bound
    ]


def dunder_all_order(name: str) -> tuple[int, list[tuple[int, str]]]:
    """The order that ruff writes: CONSTANTS, Classes, functions; numbers in names by value."""
    kind = 0 if name.isupper() and len(name) > 1 else 1 if name[:1].isupper() else 2
    return kind, [
        (int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)
    ]


def init_files_with_code(root: Path) -> list[str]:
    found = []
    for path in sources(root, *LAYERS):
        if path.name != "__init__.py":
            continue
        where = path.relative_to(root)
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        if ast.get_docstring(tree) is None:
            found.append(f"{where}: no docstring saying what the package is")
        bound: list[str] = []
        exported: list[str] | None = None
        for node in tree.body:
            match node:
                case ast.Expr(value=ast.Constant(value=str())):
                    pass
                case ast.ImportFrom(module="__future__"):
                    pass
                case ast.Import(names=names) | ast.ImportFrom(names=names):
                    bound += [alias.asname or alias.name for alias in names]
                case (
                    ast.Assign(targets=[ast.Name(id="__all__")], value=ast.List(elts=names))
                    | ast.AnnAssign(target=ast.Name(id="__all__"), value=ast.List(elts=names))
                ):
                    exported = [ast.literal_eval(name) for name in names]
                case _:
                    found.append(f"{where}:{node.lineno}: not a re-export: {ast.unparse(node)!r}")
        if exported is None:
            found.append(f"{where}: no `__all__` as a literal list")
            continue
        if exported != sorted(exported, key=dunder_all_order):
            found.append(f"{where}: `__all__` is not sorted")
        if differing := sorted(set(exported) ^ set(bound)):
            found.append(f"{where}: imported or in `__all__` but not both: {', '.join(differing)}")
    return found


def packages_without_marks(root: Path) -> list[str]:
    found = [
        f"{layer}/py.typed is missing"
        for layer in LAYERS
        if not (root / layer / "py.typed").is_file()
    ]
    for layer in LAYERS:
        folders = {path.parent for path in sources(root, layer)}
        found += [
            f"{folder.relative_to(root)}/__init__.py is missing: the wheel would lack the folder"
            for folder in sorted(folders)
            if not (folder / "__init__.py").is_file()
        ]
    return found


def shadowing_test_files(root: Path) -> list[str]:
    paths = list(sources(root, "tests"))
    names = Counter(path.name for path in paths if path.name != "conftest.py")
    return [
        *(
            f"{path.relative_to(root)}: no __init__.py under tests"
            for path in paths
            if path.name == "__init__.py"
        ),
        *(
            f"tests: {count} files are named {name}"
            for name, count in names.items()
            if count > 1 and name != "__init__.py"
        ),
        *(
            f"tests/{layer}: a folder named like a package"
            for layer in LAYERS
            if (root / "tests" / layer).exists()
        ),
    ]


RULES: list[Rule] = [
    imports_against_the_direction,
    service_libraries_in_other_files,
    files_too_long,
    init_files_with_code,
    packages_without_marks,
    shadowing_test_files,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_tree_keeps_its_rules(rule: Rule) -> None:
    """One rule of the architecture holds for this checkout; a violation names file and line."""
    found = rule(ROOT)
    assert not found, "\n" + "\n".join(found)


# --- The rules can fail ----------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small tree that keeps every rule."""
    for layer in LAYERS:
        (tmp_path / layer).mkdir()
        (tmp_path / layer / "__init__.py").write_text(
            f'"""{layer}."""\n\n__all__: list[str] = []\n'
        )
        (tmp_path / layer / "py.typed").touch()
    (tmp_path / "tests").mkdir()
    return tmp_path


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_good_tree_passes(rule: Rule, tree: Path) -> None:
    """What we allow is allowed: otherwise a failing example below would prove nothing."""
    write(tree, "binlog/cli/main.py", "import consumers.local\nfrom binlog.testing import x\n")
    write(tree, "binlog/cli/__init__.py", '"""The command."""\n\n__all__: list[str] = []\n')
    write(
        tree,
        "binlog/logs/__init__.py",
        '"""Logs."""\n\nfrom binlog.logs.kinesis import LIMIT, Log, open_log\n\n'
        '__all__ = ["LIMIT", "Log", "open_log"]\n',
    )
    write(tree, "binlog/logs/kinesis.py", "def f():\n    import boto3\n")
    write(tree, "binlog/aws/__init__.py", '"""AWS."""\n\n__all__: list[str] = []\n')
    write(tree, "binlog/aws/account.py", "import boto3\n")
    write(tree, "consumers/lambda_.py", "from botocore import config\nimport snapshots, binlog.x\n")
    write(tree, "consumers/kcl.py", "from amazon_kclpy import kcl\nimport consumers.engine\n")
    write(tree, "tests/log/test_frame.py", "import consumers\nimport boto3\n")
    assert rule(tree) == []


@pytest.mark.parametrize(
    ("path", "text", "says"),
    [
        ("binlog/a.py", "import appliers", "binlog.a imports appliers, against"),
        (
            "binlog/a.py",
            "def f():\n  from consumers.x import y",
            "a.py:2: binlog.a imports consumers",
        ),
        ("appliers/stores/a.py", "from snapshots import b", "imports snapshots.b, against"),
        ("snapshots/a.py", "if TYPE_CHECKING:\n  import consumers.b as c", "imports consumers.b"),
        ("binlog/a.py", "importlib.import_module('appliers.fold')", "imports appliers.fold"),
        ("consumers/a.py", "from binlog import cli", "imports binlog.cli, which only"),
        ("binlog/a.py", "from binlog.cli.main import main", "imports binlog.cli.main.main, which"),
        ("binlog/log.py", "import binlog.testing", "imports binlog.testing, which only"),
        ("binlog/cli/a.py", "from tests.generators import frames", "not part of the distribution"),
    ],
)
def test_refuses_an_import_against_the_direction(
    tree: Path, path: str, text: str, says: str
) -> None:
    """A lower layer that knows a higher one cannot be read, tested or used without it."""
    write(tree, path, text)
    [found] = imports_against_the_direction(tree)
    assert says in found


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"binlog/log.py": "import boto3"}, "binlog/log.py:1: imports boto3"),
        ({"binlog/logs/kinesislike.py": "import botocore.config"}, "imports botocore"),
        ({"binlog/logs/kinesis.py": "import amazon_kclpy"}, "imports amazon_kclpy"),
        (
            {
                "consumers/kcl.py": "import amazon_kclpy",
                "consumers/kcl_main.py": "import amazon_kclpy",
            },
            "used by consumers/kcl.py, consumers/kcl_main.py",
        ),
    ],
)
def test_refuses_a_service_library_in_a_file_not_named_for_it(
    tree: Path, files: dict[str, str], says: str
) -> None:
    """A service's errors and limits are translated once, where its name says so."""
    for path, text in files.items():
        write(tree, path, text)
    [found] = service_libraries_in_other_files(tree)
    assert says in found


@pytest.mark.parametrize(
    ("path", "bound"), [("binlog/a.py", LINES_MAX), ("tests/test_a.py", TEST_LINES_MAX)]
)
def test_refuses_a_file_above_the_bound_and_takes_one_at_it(
    tree: Path, path: str, bound: int
) -> None:
    """The bound is inclusive."""
    write(tree, path, "x = 1\n" * bound)
    assert files_too_long(tree) == []
    write(tree, path, "x = 1\n" * (bound + 1))
    [found] = files_too_long(tree)
    assert f"{path}: {bound + 1} lines" in found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("__all__ = []", "no docstring"),
        ('"""A."""\nfrom binlog.b import c', "no `__all__`"),
        ('"""A."""\n__all__ = []\ndef f(): ...', "not a re-export: 'def f():"),
        ('"""A."""\n__all__ = []\nif 1: import b', "not a re-export"),
        ('"""A."""\nfrom binlog.b import c, d\n__all__ = ["d", "c"]', "not sorted"),
        ('"""A."""\nfrom binlog.b import c, d as e\n__all__ = ["c"]', "not both: e"),
        ('"""A."""\n__all__ = ["c"]', "not both: c"),
        ('"""A."""\n__all__ = [] + b.__all__', "not a re-export"),
    ],
)
def test_refuses_code_in_an_init_file(tree: Path, text: str, says: str) -> None:
    """Who looks for a thing by its name must find it in the file of that name."""
    write(tree, "binlog/sub/__init__.py", text)
    assert any(says in found for found in init_files_with_code(tree))


def test_refuses_a_package_without_its_marks(tree: Path) -> None:
    """Without `py.typed` the users' checker sees no types; without `__init__.py` nothing ships."""
    (tree / "appliers/py.typed").unlink()
    write(tree, "snapshots/objects/s3.py", "")
    assert packages_without_marks(tree) == [
        "appliers/py.typed is missing",
        "snapshots/objects/__init__.py is missing: the wheel would lack the folder",
    ]


@pytest.mark.parametrize(
    ("paths", "says"),
    [
        (["tests/log/__init__.py"], "no __init__.py under tests"),
        (["tests/log/test_a.py", "tests/store/test_a.py"], "2 files are named test_a.py"),
        (["tests/binlog/test_a.py"], "tests/binlog: a folder named like a package"),
    ],
)
def test_refuses_tests_that_shadow(tree: Path, paths: list[str], says: str) -> None:
    """`import binlog` in a test must load the package, never the folder of its tests."""
    for path in paths:
        write(tree, path, "")
    [found] = shadowing_test_files(tree)
    assert says in found
