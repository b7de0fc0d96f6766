"""The list of users' mistakes: each still applies, and whoever judges the kit can be hard on it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.sabotage import proving
from tests.sabotage.catalogue import Edit
from tests.sabotage.mistakes import CORRECT, TESTS, Mistake, load, samples

ALL = load()
LISTED_MIN = 24


@pytest.mark.parametrize("mistake", ALL, ids=lambda m: m.title)
def test_a_mistake_applies_and_says_what_is_wanted_of_the_kit(mistake: Mistake) -> None:
    """A mistake that changes nothing, or is no Python, would say nothing about the kit."""
    text = mistake.text()
    assert text != (CORRECT / f"{mistake.sample}.py").read_text(encoding="utf-8")
    assert mistake.law
    assert mistake.words
    assert all(word.strip() for word in mistake.words)
    tree = ast.parse((CORRECT / f"prove_{mistake.sample}.py").read_text(encoding="utf-8"))
    names = {
        name.id if isinstance(name, ast.Name) else getattr(name, "name", "")
        for node in tree.body
        for name in (node.targets if isinstance(node, ast.Assign) else [node])
    }
    assert TESTS[mistake.check] in names


def test_names_are_unique_and_there_are_enough() -> None:
    titles = [mistake.title for mistake in ALL]
    assert len(titles) == len(set(titles))
    assert len(titles) >= LISTED_MIN


def test_every_sample_is_used_and_every_check_finds_something() -> None:
    assert {mistake.sample for mistake in ALL} == set(samples())
    assert {mistake.check for mistake in ALL} == set(TESTS)


def test_the_full_check_of_an_applier_takes_five_lines() -> None:
    """The goal of what a user writes: imports of the applier and the kit, and the test."""
    for sample in samples():
        text = (CORRECT / f"prove_{sample}.py").read_text(encoding="utf-8")
        test = re.search(r"^def test_replays_alike.*?\n(?=\n\n|\Z)", text, re.MULTILINE | re.DOTALL)
        assert test is not None
        assert len(test[0].strip().splitlines()) + 2 <= 5


# -- the judge can fail ------------------------------------------------------------------------

HARMLESS = Mistake(
    kind="control",
    name="nothing is changed",
    sample="bank",
    law="pure",
    words=("Deposited",),
    edits=(Edit("bank.py", "bank = Appliers()", "bank = Appliers()  # a control"),),
)


def judged(law: str, text: str, mistake: Mistake = HARMLESS) -> proving.Proof:
    proof = proving.Proof(mistake.title, proving.BROKEN)
    proving._judge(proof, mistake, {"law": law, "text": text})
    return proof


@pytest.mark.parametrize(
    ("law", "text", "verdict", "good"),
    [
        ("pure", "Deposited: another balance", proving.FOUND, True),
        ("pure", "DEPOSITED in other letters", proving.FOUND, True),
        ("total", "Deposited raises KeyError", proving.WRONG_LAW, False),
        ("", "NameError: Deposited", proving.WRONG_LAW, False),
        ("pure", "Withdrawn: another balance", proving.UNCLEAR, False),
    ],
)
def test_a_mistake_is_found_by_its_law_and_in_its_words_only(
    law: str, text: str, verdict: str, *, good: bool
) -> None:
    proof = judged(law, text)
    assert (proof.verdict, proof.good) == (verdict, good)
    assert good or proof.note


def test_the_summary_counts_what_was_not_found_and_leaves_controls_out() -> None:
    proofs = [
        proving.Proof("a", proving.FOUND, good=True, seconds=2.0),
        proving.Proof("b", proving.NOT_FOUND, seconds=4.0),
        proving.Proof("c", proving.PASSED, good=True, seconds=50.0),
    ]
    assert proving.summary(proofs) == (
        "1 of 2 mistakes found, median 3.0 s (goal 5), slowest 4.0 s; 1 correct samples passed"
    )


def test_a_mistake_that_no_longer_applies_is_not_taken_for_found(tmp_path: Path) -> None:
    gone = Mistake("k", "n", "bank", "pure", ("w",), (Edit("bank.py", "nowhere", ""),))
    proof = proving.prove(gone, timeout=1)
    assert (proof.verdict, proof.good) == (proving.BROKEN, False)
    assert "found 0 times" in proof.note
