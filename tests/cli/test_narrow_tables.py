"""A table on a narrow terminal leaves nothing out."""

from __future__ import annotations

import sys

import pytest

from binlog.cli.output import write_table


def test_what_is_copied_into_the_next_command_is_in_one_piece(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """And of the other cells every character is there, in several lines."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    id_, long = "20261126T163653Z-307a720c", "abcdefghijklmnopqrstuvwxyz" * 4
    write_table(["id", "digest"], [[id_, long]])
    shown = capfd.readouterr().out
    assert id_ in shown
    assert "\u2026" not in shown
    assert long in "".join(shown.replace(id_, "").split()).replace("iddigest", "").strip("\u2500")


def test_a_digest_of_digits_alone_is_no_number(capfd: pytest.CaptureFixture[str]) -> None:
    """One of some 300 short digests has no letter; its column must not jump to the right."""
    for digest in ("355137141476", "3551371414ab"):
        write_table(["id", "rows", "digest"], [["a", 4, digest], ["b", 12, "1"]])
    first, second = capfd.readouterr().out.replace("3551371414ab", "355137141476").split("id ")[1:]
    assert first == second
    assert "1" in first.splitlines()[-1].split("  ")
    assert "digest" in first.splitlines()[0].split("  ")
