"""What the documents of docs/ show is followed from top to bottom, and prints what they say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.readme.documents import ROOT, commands, edit, follow, matches

# Followed in tests/integration, where there is what it needs.
NEEDS_SERVICES = {"adopt.md", "dynamodb.md", "lambda-consumer.md"}
DOCUMENTS = [
    path for path in sorted((ROOT / "docs").glob("*.md")) if path.name not in NEEDS_SERVICES
]


@pytest.mark.timeout(600)  # it runs pytest several times, as the reader does
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_document_can_be_followed_and_prints_what_it_says(document: Path, tmp_path: Path) -> None:
    """Files, edits, commands and their output: nothing in it can go stale unnoticed."""
    text = follow(document, tmp_path)
    if os.environ.get("BINLOG_WRITE_DOCS"):
        document.write_text(text, encoding="utf-8")
    assert text == document.read_text(encoding="utf-8")


def test_there_is_a_document() -> None:
    assert "prove-your-applier.md" in [path.name for path in DOCUMENTS]


# -- following can fail ------------------------------------------------------------------------


def followed(folder: Path, text: str) -> str:
    document = folder / "document.md"
    document.write_text(text)
    return follow(document, folder)


def test_files_edits_and_commands_are_done_in_order(tmp_path: Path) -> None:
    text = (
        "```python\n# a.py\nx = 1\ny = 2\n```\n"
        "```console\n$ python a.py\n```\n"
        "Now this:\n\n"
        "```diff\n--- a.py\n-x = 1\n+print('one')\n```\n"
        "```console\n$ python a.py\none\n$ ! false\n```\n"
        "```text\nnot run\n```\n"
    )
    assert followed(tmp_path, text) == text
    assert (tmp_path / "a.py").read_text() == "# a.py\nprint('one')\ny = 2\n"


@pytest.mark.parametrize(
    "text",
    [
        "```console\n$ echo one\ntwo\n```\n",
        "```console\n$ echo one\n```\n",
        "```console\n$ true\none\n```\n",
        "```console\n$ false\n```\n",
        "```console\n$ ! true\n```\n",
        "```console\n$ echo one; exit 3\none\n```\n",
    ],
)
def test_refuses_a_command_that_prints_or_ends_otherwise(tmp_path: Path, text: str) -> None:
    with pytest.raises(AssertionError):
        followed(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        "```python\nx = 1\n```\n",
        "```diff\n-x = 1\n```\n",
        "```console\none\n$ true\n```\n",
        "```python\n# a.py\nx = 1\n```\n```diff\n--- a.py\n-y = 1\n+y = 2\n```\n",
    ],
)
def test_refuses_a_block_that_only_looks_run(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"names no file|before a command|found 0 times"):
        followed(tmp_path, text)


@pytest.mark.parametrize(
    ("printed", "expected", "same"),
    [
        ("one\ntwo\n", ["one", "two"], True),
        ("one\ntwo\n", ["one"], False),
        ("one\ntwo\nthree\n", ["one", "...", "three"], True),
        ("one\nthree\n", ["one", "...", "three"], True),
        ("one\ntwo\n", ["...", "three"], False),
        ("1 passed in 0.31s\n", ["1 passed in ...s"], True),
        ("1 failed in 0.31s\n", ["1 passed in ...s"], False),
        ("", [], True),
        ("x", [], False),
        ("a  \n\nb\n", ["a", "", "b"], True),
        ("a.b\n", ["a+b"], False),
    ],
)
def test_dots_stand_for_anything_and_nothing_else_does(
    printed: str, expected: list[str], *, same: bool
) -> None:
    assert matches(printed, expected) is same


def test_an_edit_is_of_one_place() -> None:
    assert edit("a\nb\nc\n", " a\n-b\n+B\n+BB\n") == "a\nB\nBB\nc\n"
    for block in ("-d\n+e\n", "-b\n+b\n", "b\n"):
        with pytest.raises(ValueError, match=r"found|neither"):
            edit("a\nb\nc\n", block)
    with pytest.raises(ValueError, match="found 2 times"):
        edit("b\nb\n", "-b\n+c\n")


def test_a_console_block_is_commands_with_their_output() -> None:
    [one, two] = commands("$ a\n1\n\n2\n$ ! b\n")
    assert (one.text, one.expected, one.must_fail) == ("a", ["1", "", "2"], False)
    assert (two.text, two.expected, two.must_fail) == ("! b", [], True)
