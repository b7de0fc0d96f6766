"""Hypothesis draws constants of the appliers' modules, whatever else is imported."""

from __future__ import annotations

import importlib
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.internal.conjecture import providers

from binlog.testing.choice import kit_settings
from binlog.testing.laws.constants import constants_of
from binlog.testing.subject import rules_of

APPLIERS = """
from appliers.applier import Appliers

shop = Appliers()

@shop.on("Paid", table="orders")
def paid(item, event):
    return {**event.key, "gift": event.data["by"] == "a-voucher-of-theirs"}
"""
NOISE = "WORDS = ['nothing-of-theirs', 'nor-this', 'nor-that', 'neither-nor']\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # Hypothesis notes what it found beside the tests
    monkeypatch.syspath_prepend(tmp_path)
    # As it is where no conftest of ours has settled what is drawn.
    unsettled = vars(providers._get_local_constants)["__wrapped__"]
    monkeypatch.setattr(providers, "_get_local_constants", unsettled)
    return tmp_path


def drawn() -> list[str]:
    texts: list[str] = []

    @hypothesis.seed(7)
    @kit_settings(400)
    @hypothesis.given(st.text())
    def draw(text: str) -> None:
        texts.append(text)

    draw()
    return texts


def drawn_for(appliers: str) -> list[str]:
    with constants_of(rules_of(appliers)):
        return drawn()


def test_what_is_drawn_is_settled_by_the_appliers_alone(folder: Path) -> None:
    (folder / "constants_shop.py").write_text(APPLIERS)
    (folder / "constants_noise.py").write_text(NOISE)
    before = drawn_for("constants_shop:shop")
    assert "a-voucher-of-theirs" in before
    importlib.import_module("constants_noise")
    assert drawn_for("constants_shop:shop") == before


def test_an_unknown_hypothesis_is_left_as_it_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "constants_old.py").write_text(APPLIERS)
    monkeypatch.delattr(providers.HypothesisProvider, "_local_constants")
    with constants_of(rules_of("constants_old:shop")):
        assert not hasattr(providers.HypothesisProvider, "_local_constants")
