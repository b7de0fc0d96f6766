"""`check_applier`: every law of an applier in one call, on lists of events that collide.

::

    def test_shop_replays_alike():
        check_applier(shop, events=[Placed, Paid], key="order")
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import hypothesis
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.errors import HypothesisException, Unsatisfiable

from appliers.applier import Rules
from binlog.envelope import Envelope
from binlog.errors import RefusedError
from binlog.pytest_plugin import SEED_BELOW
from binlog.schema import event_name
from binlog.testing import choice
from binlog.testing.laws.constants import constants_of
from binlog.testing.laws.explain import subject, test_code, violation_of
from binlog.testing.laws.foreign_locale import can_vary_locale
from binlog.testing.laws.laws import ALLOWABLE, FLOATS, MUTATION, ORDER, STATE, Laws
from binlog.testing.laws.replaying import check_replays
from binlog.testing.laws.surroundings import LOCALE
from binlog.testing.laws.tally import Report
from binlog.testing.laws.tidying import tidied
from binlog.testing.laws.trial import Finding
from binlog.testing.shrink import shortest
from binlog.testing.subject import Source, rules_of
from binlog.testing.types.key_strategies import Key
from binlog.testing.types.lists import event_lists, lives, simplest
from binlog.testing.types.strategies import Fields, event_strategy

if TYPE_CHECKING:
    from types import FrameType

RUNS = 11
LISTS = 10
"""Of a run. From the eleventh on Hypothesis makes five variants of each, and few new ones."""
_SHRINKS_MAX = 120  # lists tried to make the first that fails smaller: a second or two
_T = TypeVar("_T")
_WHOLE = 100  # events that passed in several lists, as one
_LIVES = 6  # long lists that are put to all laws; for the others one fold has to do
_LAWS = {
    "total": "",
    "storable": "",
    "owned": "",
    "input": MUTATION,
    "exact": FLOATS,
    "pure": "",
    "batches": "",
    "expected versions": "",
    "reference": "",
    "replay": "",
}
"""With the word by which a user leaves it out."""


def check_applier(
    source: Source,
    events: Any = None,
    *,
    key: Key = "id",
    table: str | None = None,
    fields: Fields = None,
    examples: Sequence[Sequence[Envelope]] | None = None,
    allow: Collection[str] = (),
) -> Report:
    """Put ``source`` to the proof, on short lists of events and on ``examples``.

    ``events`` are the Python types of the data, of which strategies are made (``None``: all types
    that the appliers declare), or a strategy of envelopes. ``key``, ``table`` and ``fields`` go to
    `binlog.testing.types.strategies.events`. ``examples`` are lists of envelopes that are tried first;
    with them and without ``events`` nothing else is tried. ``allow`` names laws that are left out:
    "floats", "mutation", "map order", "process" (the comparison with other processes), or one of
    the surroundings: "decimal context", "directory", "environment", "locale", "time zone".

    What the laws are: see `binlog.testing.laws.laws`. At the end some worlds of `ReplayMachine` are run.

    Raises:
        Violation: a law does not hold; it tells the shortest list of events that is found.
        RefusedError: the check could not be done, or would have seen nothing.
    """
    __tracebackhide__ = True
    rules = rules_of(source)
    _check_allowed(allow)
    caller = sys._getframe(1)  # noqa: SLF001  (whose names for things go into the test)
    strategy, wanted = _strategy(rules, events, examples, key=key, table=table, fields=fields)
    with Laws(rules, allow=allow) as laws:
        search = _Search(laws, strategy)
        search.examples([_envelopes(example) for example in examples or ()])
        if strategy is not None:
            with constants_of(rules):
                search.run()
        search.finish(orders=ORDER not in allow)
        if search.finding is not None:
            violation = _tell(search, source, sorted(allow), caller)
        else:
            laws.tally.check(rules, wanted)
            if strategy is not None:
                name = subject(source, caller)[0]
                check_replays(rules, events, name=name, key=key, table=table, fields=fields)
            left_out = {*allow} | ({LOCALE} if not can_vary_locale() else set())
            return laws.tally.report(
                [law for law, word in _LAWS.items() if word not in allow], sorted(left_out)
            )
    raise violation


def _check_allowed(allow: Collection[str]) -> None:
    if isinstance(allow, str):
        raise RefusedError(f"allow={allow!r}", do=f"give a tuple: allow=({allow!r},)")
    for name in allow:
        if name not in ALLOWABLE:
            raise RefusedError(
                f"allow= names {name!r}", do=f"it may name {', '.join(sorted(ALLOWABLE))}"
            )


def _strategy(
    rules: Rules,
    events: Any,
    examples: Sequence[Sequence[Envelope]] | None,
    **options: Any,
) -> tuple[st.SearchStrategy[Envelope] | None, list[str] | None]:
    """The strategy of one event, and the types that the check must have folded."""
    if events is None and examples is not None:
        return None, None
    if events is None and not rules.by_type:
        raise RefusedError("there are no appliers", do="declare one with Appliers.on")
    wanted: list[str] | None = None
    if events is None:
        wanted = list(rules.by_type)
    elif isinstance(events, list | tuple):
        wanted = [event_name(kind) if isinstance(kind, type) else str(kind) for kind in events]
        missing = [name for name in wanted if name not in rules.by_type]
        if missing:
            raise RefusedError(
                f"no applier takes {', '.join(missing)}",
                do=f"the appliers take {', '.join(sorted(rules.by_type)) or 'nothing at all'}",
            )
    return event_strategy(rules, events, **options), wanted


def _envelopes(example: Sequence[Envelope]) -> list[Envelope]:
    do = "examples is a list of lists of events: [[event(...), event(...)]]"
    if not isinstance(example, list | tuple):
        raise RefusedError(f"an example is the {type(example).__name__} {example!r}", do=do)
    for envelope in example:
        if not isinstance(envelope, Envelope):
            raise RefusedError(f"an example holds {envelope!r}", do=do)
    return list(example)


class _Found(Exception):  # noqa: N818  (for Hypothesis alone)
    """The list of events breaks the law that is looked for."""


class _Enough(BaseException):
    """Tried often enough; Hypothesis, which would go on drawing, lets this through."""


def _shortest(steps: Sequence[_T], fails: Callable[[list[_T]], bool]) -> list[_T]:
    return shortest(steps, fails, calls_max=_SHRINKS_MAX, simplify=lambda _: iter(()))


class _Search:
    """Looks for a list of events that breaks a law, and for the shortest."""

    def __init__(self, laws: Laws, events: st.SearchStrategy[Envelope] | None) -> None:
        self.laws = laws
        self._events = events
        self.finding: Finding | None = None
        self.events: list[Envelope] = []
        self.before: list[Envelope] = []
        """What has to be folded before, from nothing, too: something is remembered."""
        self.is_flaky = False
        self._tried = 0
        self._passed: list[list[Envelope]] = []

    def examples(self, examples: Sequence[list[Envelope]]) -> None:
        """Try these lists; of one that fails, leave out what is not needed."""
        for events in examples:
            if self.finding is None and self._fails(events):
                self._shorten()

    def run(self) -> None:
        """Try lists that the strategy makes, if nothing is found yet."""
        if self.finding is not None or self._events is None:
            return
        lists = event_lists(self._events)

        @choice.kit_settings(LISTS, max_examples=LISTS)
        @given(lists)
        def test(events: list[Envelope]) -> None:
            if self._fails(events):
                # Hypothesis makes values simpler, and would not know what came before.
                raise _Found if self.events == events and not self.is_flaky else _Enough

        for number in range(choice.examples(RUNS)):
            try:
                hypothesis.seed(choice.seed() + number * SEED_BELOW)(test)()
            except (_Found, _Enough):
                pass
            except HypothesisException as error:  # flaky: seen when it is made shorter
                if self._is_found():
                    pass
                elif isinstance(error, Unsatisfiable):
                    raise RefusedError(
                        "the strategy of events gives no event", do="give it one that is not empty"
                    ) from None
                else:
                    raise
            if self._is_found():
                self._shorten()
                return

    def _is_found(self) -> bool:
        return self.finding is not None

    def finish(self, *, orders: bool) -> None:
        """What short lists do not show, from all that passed; if nothing is found yet."""
        if self.finding is not None:
            return
        passed = list(self._passed)
        whole = [event for events in passed for event in events][:_WHOLE]
        if len(passed) > 1 and self._fails(whole):
            self._shorten()
            return
        for number, life in enumerate(lives(passed, self._events) if len(passed) > 1 else ()):
            if self._fails(life) if number < _LIVES else self._grows(life):
                self._shorten()
                return
        for events in passed if orders else ():
            if self._note(self.laws.broken_by_order(events), events):
                self._shorten()
                return

    def _grows(self, life: list[Envelope]) -> bool:
        return self._note(self.laws.broken_alone(life), life)

    def _shorten(self) -> None:
        """Leave out the events that are not needed, and tell of those that are left."""
        if self.before or self.is_flaky:
            return
        self._tried = 0
        with suppress(_Enough):
            # It may have been by chance, or by something that is remembered.
            if not self._fails(self.events):
                self.is_flaky = True
                return
            self._fails(self._of_one_item())
            _shortest(self.events, self._fails)
        self._settle()

    def _of_one_item(self) -> list[Envelope]:
        """Of the events that fail, those of the key with which they do, as far as it is seen."""
        assert self.finding is not None
        last = self.events[: self.finding.index + 1][-1]
        return [
            event
            for event in self.events[: self.finding.index + 1]
            if (event.table, event.key) == (last.table, last.key)
        ]

    def _settle(self) -> None:
        """Plain names and data for what does not matter, and the finding for what is left."""
        self._tried = 0
        with suppress(_Enough):
            for place in range(len(self.events)):
                self._simplify(place)
        self._tried = 0
        for events in tidied(self.events):
            if self._fails(events):
                self.events = events
                break
        assert self.finding is not None
        found = self.laws.finding_of(self.events, self.finding.kind)
        if found is None:
            self.is_flaky = True
        else:
            self.finding = found

    def _simplify(self, place: int) -> None:
        event = self.events[place]
        for simple in () if self._events is None else simplest(self._events, event):
            if simple == event or self._fails(
                [*self.events[:place], simple, *self.events[place + 1 :]]
            ):
                return

    def _fails(self, events: Sequence[Envelope]) -> bool:
        """Whether ``events`` break a law, or, once one is broken, that one in that way."""
        if not events:
            return False
        if self.finding is None:
            # Each run begins with the simplest list there is.
            return list(events) not in self._passed and self._breaks(list(events))
        self._tried += 1
        if self._tried > _SHRINKS_MAX:
            raise _Enough
        found = self.laws.finding_of(events, self.finding.kind)
        return self._note(found, events)

    def _breaks(self, events: list[Envelope]) -> bool:
        found = self.laws.broken(events)
        is_remembered = found is not None and self.laws.is_remembered(found, events)
        if (self.laws.is_suspect or is_remembered) and self._looks_back(events):
            return True
        if found is None:
            self._passed.append(events)
        self.is_flaky = is_remembered
        return self._note(found, events)

    def _looks_back(self, events: list[Envelope]) -> bool:
        """Whether these events become something else because of the lists that passed before."""

        def fails_after(before: list[list[Envelope]]) -> bool:
            return self._remembers(before, events)

        if not fails_after(self._passed):
            return False
        lists = _shortest(self._passed, fails_after)
        before = [event for some in lists for event in some]
        # Folded twice, one list is enough, if what it remembers is in it.
        for together in ([*events, *before], [*before, *events]):
            if self._note(self.laws.finding_of(together, STATE), together):
                return True
        if fails_after([before]):
            before = _shortest(before, lambda some: fails_after([some]))
            lists = [before]
        events = _shortest(events, lambda some: self._remembers(lists, some))
        self.before = before
        return self._note(self.laws.broken_by_memory(lists, events), events)

    def _remembers(self, before: list[list[Envelope]], events: list[Envelope]) -> bool:
        if not before or not events:
            return False
        return self.laws.broken_by_memory(before, events) is not None

    def _note(self, found: Finding | None, events: Sequence[Envelope]) -> bool:
        if found is None:
            return False
        self.finding, self.events = found, list(events)
        return True


def _tell(search: _Search, source: Source, allow: list[str], caller: FrameType) -> Exception:
    assert search.finding is not None
    events, before = search.events, search.before
    lists = [before, events] if before else [events]
    test = test_code(source, lists, law=search.finding.law, allow=allow, frame=caller)
    outcome = search.laws.outcome(events)
    note = "\n(When the same events were tried again, they did not fail: something remembers.)"
    return violation_of(
        search.finding,
        events,
        outcome,
        before=before,
        test=test,
        note=note if search.is_flaky else "",
    )
