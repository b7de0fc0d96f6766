"""Every sabotage that the design lists for what is built still applies, and names a test."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.sabotage.catalogue import ROOT, Edit, Mutation, load

MUTATIONS = load()


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.title)
def test_a_mutation_applies_and_its_killer_exists(mutation: Mutation) -> None:
    """Code moves on; a mutation that no longer applies would be counted as neither."""
    changed = mutation.texts(ROOT)
    for file, text in changed.items():
        assert text != (ROOT / file).read_text(encoding="utf-8")
    path, _, name = mutation.killer.partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert not name or name in names, f"{path} has no {name}"


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
