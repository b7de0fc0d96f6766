"""What a drill's function is given: the verbs of given, disaster, recovery, and what must hold."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from random import Random

from binlog.drills.action import TABLE, Action, Source, orders
from binlog.drills.background import Background
from binlog.drills.curves import Curves
from binlog.drills.declared import Declared, Twin
from binlog.drills.filled import Scale
from binlog.drills.harm import Standing, never_so
from binlog.drills.judge import Wanted
from binlog.drills.load import Load, append
from binlog.drills.processes import Ended, Processes
from binlog.drills.record import By, Record
from binlog.drills.result import Command, PhaseName
from binlog.drills.steps import said
from binlog.drills.target import STORES, Target
from binlog.drills.waiting import Waiting
from binlog.errors import BinlogError
from binlog.log import Log
from binlog.producer import ProducerOptions

LINES_MAX = 12
UNSEEN = (
    "nothing is changed by it, or nothing that can be told from what moved by itself: see shown="
)
_JUDGES: dict[str, By] = {
    "verify": "verify",
    "check": "check",
    "audit": "check",
    "digest": "digest",
}


class Drill(Waiting):
    """One run of a drill. Names in braces, ``{log}``, are the target's addresses."""

    def __init__(
        self,
        declared: Declared,
        target: Target,
        record: Record,
        *,
        seed: int,
        twin: Twin | None = None,
        processes: Processes,
        scale: Scale = Scale(),  # noqa: B008  it is frozen
    ) -> None:
        super().__init__(target, record, seed=seed, scale=scale)
        self.random = Random(seed)
        self.processes = processes
        self._declared = declared
        self._twin = twin
        self.unused = dict(twin.instead) if twin is not None else {}
        self._names = dict(target.addresses)
        self._loads: list[tuple[Load, float, str]] = []
        self._appended = 0
        self.served = "live"  # the store that the curves are of
        self.curves = Curves(record.now_s, lambda: self.book.acknowledged, self._applied)

    # -- given -----------------------------------------------------------------------------------

    def write(self, file: str, text: str) -> None:
        """A file where commands run: the appliers of an application, say."""
        (self.target.folder / file).write_text(text, encoding="utf-8")

    def environment(self, **variables: str) -> None:
        """Variables of the commands that are typed from now on."""
        self.processes.environment |= variables

    def init(self, partitions: int = 4, more: str = "") -> None:
        """Make the log."""
        words = [f"binlog init {{log}} --partitions {partitions}", more, self.target.init_more]
        self.run(" ".join(filter(None, words)))

    def load(
        self,
        rate: float | None = None,
        *,
        source: Source = orders,
        producers: int = 2,
        options: ProducerOptions | None = None,
        tag: str = "",
        every_s: float | None = None,
    ) -> Load:
        """Producers that do not stop; `settle` ends them."""
        self.fill_first(source)
        rate = self.target.rate if rate is None else rate
        text = f"{rate:g} events a second by {producers} producers"
        seed = f"s{self.seed}{'abcdefgh'[len(self._loads)]}"
        started = Load(
            self.book,
            self.target.open_log,
            source,
            rate=rate,
            producers=producers,
            seed=seed,
            options=options,
            tag=tag,
            every_s=self.target.every_s if every_s is None else every_s,
        )
        self._loads.append((started, self._record.now_s(), text))
        return started

    def append(
        self,
        actions: Sequence[Action],
        *,
        tag: str = "",
        options: ProducerOptions | None = None,
        clock_s: float = 0.0,
    ) -> str:
        """Append these now, as a process of its own would; its session, for ``--exclude``.

        ``clock_s`` is how far its machine's clock is ahead.
        """
        self._appended += 1
        with contextlib.closing(self.target.open_log(clock_s=clock_s)) as log:
            name = f"s{self.seed}x{self._appended}"
            return append(self.book, log, name, actions, options=options, tag=tag)

    def replicate(
        self,
        name: str = "live",
        *,
        variables: Mapping[str, str] | None = None,
        again: bool = False,
    ) -> Background:
        """Run what keeps a store there, until it is ended or killed: see `start`."""
        typed = f"binlog replicate {{log}} {{{name}}}"
        return self.start(typed, variables=variables, again=again)

    def start(
        self, typed: str, *, variables: Mapping[str, str] | None = None, again: bool = False
    ) -> Background:
        """Run a command that goes on; a twin may type another one, but not none.

        ``binlog replicate`` without ``--once`` is whatever keeps that store where the drill takes
        place: on the stack a Lambda function, or the KCL. ``variables`` are the command's own.
        ``again``: by what watches over it, after it has ended by itself; no step of a recovery.
        """
        shown = self._shown(self._typed(typed)[0] or "binlog --version")
        now = self._record.now_s()
        text = f"started again: {shown}" if again else said("started", shown)
        self._record.mark("note", text, now, now)
        started = self.processes.start(shown, shlex.split(shown), variables)
        started.when_over = partial(self._over, shown)
        return started

    def kill_all(self) -> None:
        """All processes that go on, at once.

        Raises:
            StorageError: one ended by itself before.
        """
        self.processes.check_ends()
        self.processes.end_all()

    def stop_load(self) -> None:
        """End the load; every event has its outcome then."""
        loads, self._loads = self._loads, []
        for load, begin_s, text in loads:
            load.stop()
            self._record.mark("load", text, begin_s)

    def settle(self, name: str = "live", *, wanted: Wanted = lambda _: True) -> None:
        """End the load, and wait until the store has all of it that is ``wanted``."""
        self.stop_load()
        self.caught_up(name, wanted=wanted)

    def open_log(self) -> contextlib.closing[Log]:
        """For who writes something into it by hand."""
        return contextlib.closing(self.target.open_log())

    # -- disaster --------------------------------------------------------------------------------

    @contextlib.contextmanager
    def disaster(
        self,
        text: str,
        *,
        changes: str | Sequence[str] = (),
        shown: Callable[[], str] | None = None,
    ) -> Iterator[None]:
        """What is done to it in the block; it has to be shown that something was.

        Either by what is gone or another one at the addresses that it ``changes``, what came in
        meanwhile apart, or by what ``shown`` says afterwards; nothing said is nothing shown.
        """
        names = [changes] if isinstance(changes, str) else list(changes)
        if not names and shown is None:
            raise TypeError("a disaster that nobody could see: give changes= or shown=")
        quiet = self.curves.quiet if names else contextlib.nullcontext()
        moves = bool(self._loads) or self.processes.go_on
        with quiet, contextlib.ExitStack() as stack:
            before = [
                stack.enter_context(Standing(self.target, name, moves=moves)) for name in names
            ]
            with self._record.during("disaster", text):  # to look at what stands there is none
                yield
            harmed = {each.name: each.harm() or self._never_so(each.name) for each in before}
        evidence = [f"{self[name]}: {harm}" for name, harm in harmed.items() if harm]
        if shown is not None and (said := shown()):
            evidence.append(said)
        ok = len(evidence) == len(names) + (shown is not None)
        self._record.proved += ok
        self._record.say(
            f"it happened: {text}",
            ok=ok,
            evidence="; ".join(evidence) or UNSEEN,
            by="drill",
        )

    def _never_so(self, name: str) -> str:
        """Items that no events have made so: somebody's hand, also where consumers have been since."""
        try:
            items = self.target.items(name, TABLE) if name in STORES else {}
        except (BinlogError, OSError):
            return ""
        return never_so(self.book.entries(), items, self.judge.folds)

    # -- recovery --------------------------------------------------------------------------------

    def phase(self, name: PhaseName) -> contextlib.AbstractContextManager[None]:
        """A phase of the recovery; the time between phases counts too."""
        return self._record.in_phase(name)

    def run(
        self,
        typed: str,
        *,
        exit: int | Collection[int] = 0,  # noqa: A002  it reads as a shell does
        says: str | None = None,
    ) -> Ended:
        """Type a command; an end with another status than ``exit``, or that does not say what it should, is a verdict.

        It goes on all the same, as the judge has to have its say.
        """
        self.processes.interrupts.look()
        expected = (exit,) if isinstance(exit, int) else tuple(exit)
        wanted, is_twin = self._typed(typed)
        begin_s = self._record.now_s()
        if wanted is None:
            self._record.mark("note", f"left out: {typed}", begin_s, begin_s)
            return Ended(0, 0.0, "", "")
        shown = self._shown(wanted)
        ended = self.processes.run(shlex.split(shown), more_s=self.more_s)
        lines = f"{ended.stdout}\n{ended.stderr}".replace(f"{self.target.folder}/", "").splitlines()
        output = tuple(line.rstrip() for line in lines if line.strip())[-LINES_MAX:]
        command = Command(
            typed=wanted,
            shown=shown,
            phase=self._record.phase,
            begin_s=round(begin_s, 6),
            seconds=round(ended.seconds, 3),
            status=ended.status,
            expected=expected,
            output=output,
            twin=is_twin,
            spent=ended.spent,
        )
        self._record.command(command)
        said = says is None or says in "\n".join(lines)
        # Yes or no is an answer; that it could not be found, or was refused, is none of the judge's.
        by = _JUDGES.get(shlex.split(shown)[1], "command") if ended.status in (0, 1) else "command"
        if not command.ok or not said or by != "command":
            wanted_words = "" if says is None else f", and says {says!r}"
            what = "" if said else ", and does not say that"
            self._record.say(
                f"{shown} ends with {' or '.join(map(str, expected))}{wanted_words}",
                ok=command.ok and said,
                evidence=f"it ended with {ended.status} in {ended.seconds:.2f} s{what}",
                by=by,
                lines=output[-4:],
            )
        return ended

    def last(self, typed: str) -> Command:
        """What came of a command when it was typed last; of a twin, of what stood there.

        Raises:
            ValueError: it was not typed.
        """
        wanted, _ = self._typed(typed)
        for command in reversed(self._record.commands):
            if command.typed == wanted:
                return command
        raise ValueError(f"it was never typed: {typed}")

    def _typed(self, typed: str) -> tuple[str | None, bool]:
        # What is given is the twin's, too: only the recovery is done wrong.
        if (
            self._twin is None
            or typed not in self._twin.instead
            or self._record.disaster_s() is None
        ):
            return self.target.typed(typed), False
        self.unused.pop(typed, None)
        if self._record.sabotaged is None:
            self._record.sabotaged = len(self._record.verdicts)
        instead = self._twin.instead[typed]
        return None if instead is None else self.target.typed(instead), True

    def end_of_log(self) -> str:
        """Where the log ends now, as a vector that ``--until`` takes."""
        ended = self.run("binlog status {log} --json").stdout
        found = {p["partition"]: p["offset"] for p in json.loads(ended)["partitions"]}
        return json.dumps(found)

    # -- the curves, and the end -----------------------------------------------------------------

    def judge_anyhow(self) -> None:
        """After a recovery that did not come to its end: what there is, and what is missing."""
        with contextlib.suppress(Exception):
            self.stop_load()
            self.stand_still(self.served)
        try:
            self.holds(self.served)
        except (BinlogError, OSError) as error:
            self.expect(f"{self.served} can be read", False, str(error), by="model")  # noqa: FBT003

    def look_back(self) -> None:
        """After the last verb: what failed or ended by itself, and nobody looked.

        Raises:
            BinlogError: it did. Also what a producer failed with.
        """
        for load, _, _ in self._loads:
            load.check()
        self.processes.check_ends()

    def end(self) -> None:
        """End all that was started; repeats do nothing."""
        loads, self._loads = self._loads, []
        for load, begin_s, text in loads:
            with contextlib.suppress(Exception):
                load.stop()
            self._record.mark("load", text, begin_s)
        self.processes.end_all()
