"""The tour of `scripts/quickstart` comes to its kill in time, however seldom it can look."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from scripts.demo import tour
from scripts.demo.places import Files, Whole

WHOLE = Whole(events=1_000, items=100)


class Seen(Files):
    """Of each replica what one sees: nothing, and at the next look so much."""

    def __init__(self, folder: Path, *shares: float) -> None:
        super().__init__(folder)
        self._next = dict(enumerate(shares))
        self._made = 0
        self._looks = 0

    def begin_again(self) -> None:
        super().begin_again()
        self._made, self._looks = self._made + 1, 0

    def applied(self) -> int:
        return round(self.share(WHOLE) * WHOLE.events)

    def share(self, whole: Whole) -> float:  # noqa: ARG002
        self._looks += 1
        return self._next[self._made] if self._looks > 1 else 0.0


@pytest.fixture(autouse=True)
def goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever is started goes on until it is killed."""
    command = tmp_path / "binlog"
    command.write_text(f"#!{sys.executable}\nimport signal\nsignal.pause()\n")
    command.chmod(0o755)
    monkeypatch.setattr(tour, "BINLOG", command)


def test_what_was_killed_too_late_is_done_again_more_slowly(tmp_path: Path) -> None:
    places = Seen(tmp_path, 1.0, 1.0, 0.4)
    assert tour.replicate_and_kill(places, WHOLE) == 0.4
    assert places.rate == Files.rate // 4
    assert places.two == f"sqlite:{tmp_path}/two-{places.rate}.db"


def test_what_was_killed_in_its_midst_is_gone_on_with(tmp_path: Path) -> None:
    places = Seen(tmp_path, 0.3)
    assert tour.replicate_and_kill(places, WHOLE) == 0.3
    assert (places.rate, places.two) == (Files.rate, f"sqlite:{tmp_path}/two.db")


def test_it_is_not_tried_for_ever(tmp_path: Path) -> None:
    """The tour says then what should hold and does not."""
    places = Seen(tmp_path, *[1.0] * (1 + tour.TRIES_MORE))
    assert tour.replicate_and_kill(places, WHOLE) == 1.0
