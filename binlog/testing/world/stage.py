"""What stands behind a world's happenings: who takes part, how all comes to rest, who judges it.

An event that no applier can apply is left out as an operator would do it: every replica is rebuilt
with an exclusion of its place before it goes on, and the truth leaves it out as well. Only what is
said to be impossible is treated so, by the user's code (`ApplierError`) or by what an action means;
an applier that fails otherwise has broken a law.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NoReturn, TypeAlias, TypeVar

from appliers.applier import NO_RULES, ApplierError
from appliers.fingerprint import fingerprint
from appliers.store import vector_of
from binlog.envelope import ITEM_TYPES
from binlog.errors import BinlogError, PoisonError, RefusedError
from binlog.frame import Session
from binlog.producer.outcome import Outcome
from binlog.testing.subject import Source, rules_of
from binlog.testing.violation import Violation
from binlog.testing.words import imports_of_code
from binlog.testing.world.drill import drill
from binlog.testing.world.judge import Invariants, Judge
from binlog.testing.world.ledger import check_ledger, check_order, check_predecessors, check_waits
from binlog.testing.world.narrator import Narrator, rows_of
from binlog.testing.world.operators import Operators
from binlog.testing.world.producers import PARAMS, PROCESSES, Producers, Published
from binlog.testing.world.replicas import RECORDS, Replica
from binlog.testing.world.specification import COPY
from binlog.testing.world.store import WorldStore
from binlog.testing.world.truth import PARTITIONS, Truth
from binlog.vector import Vector

_QUIET_MS = PARAMS.session_life_ms + PARAMS.session_age_ms  # after it every session has expired
_TURNS_MAX = 100  # until all is at rest

_Replica: TypeAlias = Replica[WorldStore]
_Result = TypeVar("_Result")


class Stage:
    """The part of `World` that is not called by its users."""

    def __init__(
        self,
        rules: Source = NO_RULES,
        *,
        kinesis: bool = True,
        tell: bool = False,
        invariants: Invariants | None = None,
        name: str = "rules",
    ) -> None:
        """``kinesis``: the log takes frames of any age, as Kinesis does, in two shards.

        Without it, it refuses those that are too old, as a directory log does, and the stores look
        at all conditions of a commit before its first write. ``name`` is what ``code`` calls the
        rules.
        """
        self.met: Counter[str] = Counter()
        self.story: list[str] = []
        self.code: list[str] = []
        self.rules = rules_of(rules)
        self.producers = Producers(kinesis=kinesis, met=self.met)
        self.log = self.producers.log
        self.operators = Operators(self.log)
        made_by = fingerprint(self.rules)
        self.replicas = [
            Replica(
                number,
                self.log,
                WorldStore(f"memory:replica{number}", met=self.met, looks_first=not kinesis),
                self.rules,
                fingerprint=made_by,
                remembers=remembers,
                met=self.met,
            )
            for number, remembers in enumerate((True, False))
        ]
        self.truth = Truth(self.log, self.operators, self.rules)
        self.judge = Judge(self.truth, [r.store for r in self.replicas], invariants)
        self._excluded: tuple[str, ...] = ()
        self._drills = 0
        given = ([] if rules is NO_RULES else [name]) + ([] if kinesis else ["kinesis=False"])
        self._made = f"World({', '.join(given)})"
        self._teller = Narrator(self.story, self.code) if tell else None

    @property
    def events(self) -> int:
        """How many were published."""
        return len(self.producers.ledger)

    def test_source(self, name: str = "test_what_went_wrong") -> str:
        """The source of a test that does all this again; only if it was told."""
        code = "\n".join(f"    {line}" for line in self.code)
        imports = "\n".join(["from binlog.testing import World", *imports_of_code(code)])
        return f"{imports}\n\n\ndef {name}() -> None:\n    world = {self._made}\n{code}\n"

    # -- inside ----------------------------------------------------------------------------------

    def _check_process(self, process: int) -> None:
        if not 0 <= process < PROCESSES:
            raise RefusedError(f"process {process}", do=f"from 0 to {PROCESSES - 1}")

    def _partition(self, partition: int) -> int:
        if partition not in PARTITIONS:
            raise RefusedError(f"partition {partition}", do=f"from 0 to {PARTITIONS[-1]}")
        return partition

    def _replica(self, replica: int) -> _Replica:
        if not 0 <= replica < len(self.replicas):
            raise RefusedError(f"replica {replica}", do=f"from 0 to {len(self.replicas) - 1}")
        return self.replicas[replica]

    def _turn(self, target: _Replica, turn: Callable[[], str]) -> None:
        """A consumer's turn; what it cannot apply is left out."""
        before = self._vector(target) if self._teller else {}
        if target.excluded != self._excluded and not self._rebuild(target):
            return
        how = self._guarded(target, turn, applies=True) or "paused"
        if self._teller:
            self._teller.turned(f"replica {target.number}", before, self._vector(target), how)

    def _rebuild(self, target: _Replica) -> bool:
        """Whether it went through; it does not while the log is halted."""
        while True:
            done = self._guarded(target, lambda: target.rebuild(self._excluded))
            if done is not None:
                return done

    def _guarded(
        self, target: _Replica, work: Callable[[], _Result], *, applies: bool = False
    ) -> _Result | None:
        """What a consumer's work comes to; ``None`` where it met what cannot be applied.

        ``applies``: whatever lies before that is applied by then.
        """
        try:
            return work()
        except PoisonError as error:
            self._leave_out(error)
            if applies:
                self._judged(partial(self._check_stopped, target, error))
            return None
        except BinlogError as error:
            self._fail(_has_stopped(target, error), error)

    def _leave_out(self, error: PoisonError) -> None:
        """What cannot be applied is left out from now on, by everybody."""
        self.truth.look()
        place = _place_of(error)
        undeclared = error.details["type"] not in ITEM_TYPES and not isinstance(
            error.__cause__, ApplierError
        )
        if undeclared or place not in self.truth.poison:
            self._fail(_not_total(error, undeclared=undeclared), error)
        if self._excluded == self.truth.exclusions():
            self._fail(_met_again(error), error)  # and would be again, for ever
        self.met["poison"] += 1
        self._excluded = self.truth.exclusions()
        if self._teller:
            self._teller.say(f"somebody leaves out what cannot be applied: {error.what}")

    def _check_stopped(self, target: _Replica, error: PoisonError) -> None:
        """Where a consumer stands that met what cannot be applied: before its record."""
        partition, offset = _place_of(error)
        expected = self.truth.record_start(partition, offset)
        found = self._vector(target).get(partition, 0)
        if found != expected:
            raise Violation(
                f"replica {target.number} met an event that cannot be applied, and what lies before"
                " its record is not applied",
                law="what cannot be applied stops nothing before it",
                differences=[
                    f"event {offset} of partition {partition}",
                    f"expected {expected} events applied, found {found}",
                ],
            )

    def _resolve(self, target: _Replica, which: int) -> None:
        for halt in target.halts:
            decision = self.operators.resolve(halt, which)
            self.met["resolved"] += 1
            if self._teller:
                self._teller.say(
                    f"somebody decides on partition {halt.partition}, which is halted"
                    f" ({halt.rule}): {decision}"
                )

    def _drill(self, vector: Vector) -> None:
        self._drills += 1
        store = WorldStore(f"memory:drill{self._drills}", met=self.met)
        self.met["rebuilt elsewhere"] += 1
        self._judged(partial(drill, self.log, store, self.rules, self.judge, vector))

    def _settle(self) -> None:
        self.log.release()
        self.producers.settle()
        self.producers.tick(_QUIET_MS)
        for partition in PARTITIONS:
            self.operators.noop(partition)
        self._let_replicas_catch_up()
        self.judge.look()
        for journal in self.judge.journals:
            journal.check_stands_at(self.truth.end())
            journal.check_holds_nothing()
        self._let_zombies_repeat()
        self.producers.check_alive()
        ledgers: list[list[Published]] = [[] for _ in PARTITIONS]
        for entry in self.producers.ledger:
            ledgers[entry.partition].append(entry)
        for partition, ledger in enumerate(ledgers):
            verdict = self.truth.verdict(partition)
            check_ledger(ledger, partition, verdict)
            check_waits(verdict.lifted, self.operators.stray_families())
            predecessors = self.truth.predecessors(partition)
            if predecessors:
                check_predecessors(predecessors, _acknowledged(ledger))
            check_order((t.session, t.event) for t in verdict.sequenced if t.event is not None)
            self.met.update(verdict.counts)
            self.met.update([f"{trouble.rule}: {d}" for trouble, d in verdict.lifted])
            self.met["copies"] += sum([t.what == COPY for t in verdict.taken])
        self.met["rejected expectation"] += len(self.truth.tables.refused)
        self.met["version of an item"] += len(self.truth.cells)
        self.met["tombstone"] += sum([cell.deleted for cell in self.truth.cells.values()])

    def _let_replicas_catch_up(self) -> None:
        end: Vector = {}
        for which in range(_TURNS_MAX):
            for replica in self.replicas:
                self._turn(replica, partial(replica.consume, 1_000, RECORDS))
            self.truth.look()
            halted = [replica for replica in self.replicas if replica.halts]
            end = self.truth.end()
            if not halted and all(self._vector(replica) == end for replica in self.replicas):
                return
            if halted:
                self._resolve(halted[0], which)
        self.judge.look()
        raise Violation(
            "the replicas do not come to rest",
            law="everything is applied in the end (14)",
            differences=[
                f"replica {replica.number} stands at {self._vector(replica)}, the log ends at {end}"
                for replica in self.replicas
            ],
        )

    def _let_zombies_repeat(self) -> None:
        """9: what is applied is applied; to read it again changes nothing."""
        for replica in self.replicas:
            before = len(replica.store.journal)
            self._guarded(replica, partial(replica.wake, 1_000))
            if len(replica.store.journal) != before:
                raise Violation(
                    f"replica {replica.number}: a consumer that read all again wrote again",
                    law="a replay changes nothing (9)",
                    differences=[repr(entry) for entry in replica.store.journal[before:]],
                )

    def _is_behind(self) -> bool:
        """Whether a replica has anything to read yet."""
        return any(
            records and _place(replica, partition) != (records[-1][0], records[-1][1].sequence)
            for replica in self.replicas
            for partition in PARTITIONS
            for records in (self.log.records(partition),)
        )

    def _vector(self, replica: _Replica) -> Vector:
        return vector_of(replica.store.checkpoints(replica.generation.id))

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Tells afterwards which events have an outcome that they had not before."""
        if not self._teller:
            yield
            return
        open_before = [entry for entry in self.producers.ledger if entry.outcome is None]
        yield
        self._teller.heard(open_before)

    def _judged(self, judge: Callable[[], None]) -> None:
        try:
            judge()
        except Violation as violation:
            self._fail(violation, violation.__cause__)

    def _fail(self, violation: Violation, cause: BaseException | None) -> NoReturn:
        """Raise the violation with all that can be told of how it came about."""
        if violation.story:
            raise violation from cause
        if self._teller:
            for replica in self.replicas:
                rows = {
                    table: {key: (row.version, row.data) for key, row in replica.store.scan(table)}
                    for generation in replica.store.generations()
                    for table in generation.tables
                }
                self._teller.holds(f"replica {replica.number}", rows)
            self.truth.look()
            self._teller.holds(
                "by its events a replica at the log's end", rows_of(self.truth.tables.cells)
            )
        raise Violation(
            violation.what,
            law=violation.law,
            story=self.story,
            differences=violation.differences,
            do=violation.do,
            repeat=violation.repeat,
            test=self.test_source() if self._teller else "",
        ) from cause


def _place_of(error: PoisonError) -> tuple[int, int]:
    partition, offset = error.details["partition"], error.details["offset"]
    assert isinstance(partition, int)
    assert isinstance(offset, int)
    return partition, offset


def _not_total(error: PoisonError, *, undeclared: bool) -> Violation:
    if undeclared:
        return Violation(
            f"an applier fails on an event that it has to take: {error.what}",
            law="total",
            differences=[error.where],
            do="let it take every item and event, or raise ApplierError where it cannot",
        )
    return Violation(
        f"an event was refused that its applier takes: {error.what}",
        law="what cannot be applied stops everybody",
        differences=[error.where],
    )


def _met_again(error: PoisonError) -> Violation:
    return Violation(
        f"an event that was left out is met all the same: {error.what}",
        law="what is left out is not met",
        differences=[error.where],
    )


def _has_stopped(replica: _Replica, error: BinlogError) -> Violation:
    return Violation(
        f"the consumer of replica {replica.number} cannot go on: {error.what}",
        law="consumers go on",
        differences=[error.where] if error.where else [],
        do=error.do,
    )


def _acknowledged(ledger: Iterable[Published]) -> set[tuple[Session, int]]:
    return {
        (entry.session, entry.number)
        for entry in ledger
        if entry.outcome is Outcome.ACKNOWLEDGED and entry.session is not None
    }


def _place(replica: _Replica, partition: int) -> tuple[str, int] | None:
    """Where a replica's checkpoint of a partition stands in the log."""
    found = replica.store.checkpoints(replica.generation.id).get(partition)
    return None if found is None else (found.shard, found.sequence)
