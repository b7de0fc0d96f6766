"""Every sabotage that the design lists for what is built still applies, and names a test."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sabotage.catalogue import ROOT, Edit, Mutation, load

MUTATIONS = load()
DESIGN = Path(__file__).with_name("design.toml")
PARTS = ("binlog", "appliers", "snapshots", "consumers")


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.title)
def test_a_mutation_applies_and_its_killer_exists(mutation: Mutation) -> None:
    """Code moves on; a mutation that no longer applies would be counted as neither."""
    changed = mutation.texts(ROOT)
    for file, text in changed.items():
        assert text != (ROOT / file).read_text(encoding="utf-8")
    path, _, name = mutation.killer.partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    # One case of many may be named: pytest finds it, or the stage says that it could not be run.
    assert not name or name.partition("[")[0] in names, f"{path} has no {name}"


def wanted() -> Iterator[tuple[str, object]]:
    """The design's list: what it says, and what stands for it."""
    for part, says in tomllib.loads(DESIGN.read_text(encoding="utf-8")).items():
        yield from ((f"{part}: {words}", what) for words, what in says.items())


def wrong_with(what: object, titles: set[str], root: Path) -> str:
    """Why the design's wish is not met, "" if it is or cannot be yet."""
    match what:
        case [_, *_] if all(isinstance(title, str) for title in what):
            missing = [title for title in what if title not in titles]
            return f"no mutation is called {missing[0]!r}" if missing else ""
        case {"reason": str(reason), "needs": [_, *_] as needs, **rest} if reason and not rest:
            found = {path for glob in needs for path in root.glob(glob)}
            files = {path for path in found if path.relative_to(root).parts[0] in PARTS}
            return f"{min(files).name} is there now: write the mutation" if files else ""
        case _:
            return "neither titles of mutations nor a reason and what it needs"


@pytest.mark.parametrize(
    ("says", "what"), list(wanted()), ids=lambda v: v if isinstance(v, str) else ""
)
def test_what_the_design_lists_has_a_mutation_or_a_reason_why_not(says: str, what: object) -> None:
    """A part that gets built brings its sabotages along, or this fails."""
    assert wrong_with(what, {m.title for m in MUTATIONS if not m.must_survive}, ROOT) == "", says


@pytest.mark.parametrize(
    ("what", "says"),
    [
        (["part: not there"], "no mutation is called"),
        ([], "neither"),
        ({"reason": "none yet"}, "neither"),
        ({"reason": "", "needs": ["snapshots/*.py"]}, "neither"),
        ({"reason": "r", "needs": ["x.py", "snapshots/arch*.py"]}, "archive.py is there now"),
        (["part: there"], ""),
        ({"reason": "r", "needs": ["snapshots/snap*.py"]}, ""),
    ],
)
def test_the_table_of_the_design_can_fail(tmp_path: Path, what: object, says: str) -> None:
    (tmp_path / "snapshots").mkdir()
    (tmp_path / "snapshots/archive.py").touch()
    found = wrong_with(what, {"part: there"}, tmp_path)
    assert found.startswith(says)
    assert bool(found) is bool(says)


def test_what_is_not_applicable_names_a_file_that_could_be() -> None:
    """A glob with a slip in it would never match, and its sabotage never be asked for."""
    could = [
        *("consumers/lambda_.py", "consumers/kcl.py", "consumers/tombstone_sweeper.py"),
        *("consumers/parking.py", "consumers/dead_letters.py", "binlog/cli/snapshot.py"),
        *("binlog/cli/archive.py", "binlog/timeline.py", "binlog/logs/kinesis.py"),
        "snapshots/objects/directory.py",
    ]
    globs = {glob for _, what in wanted() if isinstance(what, dict) for glob in what["needs"]}
    for glob in globs:
        assert any(_matches(path, glob) for path in could), glob


def _matches(path: str, glob: str) -> bool:
    pattern = re.escape(glob).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
    return re.fullmatch(pattern, path) is not None


def test_names_are_unique() -> None:
    titles = [mutation.title for mutation in MUTATIONS]
    assert len(titles) == len(set(titles))


def test_there_is_a_control_that_has_to_survive() -> None:
    """Else a harness that calls everything killed would pass."""
    assert any(mutation.must_survive for mutation in MUTATIONS)


@pytest.mark.parametrize(("text", "count"), [("a b", 0), ("x x", 2)])
def test_refuses_a_place_that_is_not_there_or_not_the_only_one(text: str, count: int) -> None:
    with pytest.raises(ValueError, match=f"found {count} times"):
        Edit("file.py", "x", "y").apply(text)


def test_a_mutation_that_is_no_python_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file.py").write_text("x = 1\n")
    broken = Mutation("part", "name", "killer", (Edit("file.py", "1", "("),))
    with pytest.raises(SyntaxError):
        broken.texts(tmp_path)
