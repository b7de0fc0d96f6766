"""A violation's text is the whole report, wherever it is carried."""

from __future__ import annotations

import pickle

from binlog.testing.violation import Violation


def test_a_violation_says_everything_it_knows_in_reading_order() -> None:
    text = str(
        Violation(
            "the item differs",
            law="pure",
            story=["ada joins", "ada leaves"],
            differences=["seats: 1 expected, 2 found"],
            do="keep no clock",
            repeat="pytest x",
            test="def test_it(): ...",
        )
    )
    parts = ["the item differs (law: pure)", "1. ada joins", "2. ada leaves", "seats: 1 expected"]
    parts += ["What to do: keep no clock", "Repeat it: pytest x", "    def test_it(): ..."]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


def test_a_violation_survives_the_way_between_processes() -> None:
    violation = Violation("it differs", law="total", story=["once"], do="mend it")
    carried = pickle.loads(pickle.dumps(violation))
    assert str(carried) == str(violation)
    assert vars(carried) == vars(violation)
