"""A second process that folds the same events: another hash seed, and nothing remembered.

It is started once and serves one check after the other. For each it forks: the fork loads the
user's modules and waits. What is asked is folded in a fork of that, so that whatever an applier
kept before is not there. Requests and answers are pickled messages over two pipes; a process of our
own makes them, nobody else's.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import importlib.util
import os
import pickle
import subprocess
import sys
import time
import traceback
from collections.abc import Collection, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec

from appliers.applier import Rules
from binlog.envelope import Envelope
from binlog.errors import RefusedError
from binlog.testing.laws.folding import Outcome, fold_each, place
from binlog.testing.laws.instruments import Instruments
from binlog.testing.laws.sending import Module, modules_of, pack_rules
from binlog.testing.laws.surroundings import surrounded

_ANSWER_S = 600.0
"""A fold takes a millisecond; to start, on a machine that others keep busy, a minute and more."""
_PROGRAM = Path(__file__).with_name("twin_process.py")


class _Start(msgspec.Struct):
    environment: dict[str, str]
    folder: str
    path: list[str]
    modules: list[Module]
    rules: bytes


class _Request(msgspec.Struct):
    lists: list[list[Envelope]]  # each onto nothing, all in one process
    other: list[str]  # surroundings


class _End(msgspec.Struct):
    """Nothing more comes for these rules."""


class _Process:
    """A process with a hash seed of its own, that has imported the kit; it outlives a check."""

    def __init__(self, hash_seed: int) -> None:
        self.hash_seed = hash_seed
        self.pid = os.getpid()  # whose it is
        self.is_taken = False
        self.is_old = False  # it has served a check before
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
        # Ours must be found first: it is what the other process begins with.
        root = str(Path(__file__).parents[3])
        found = os.environ.get("PYTHONPATH")
        environment["PYTHONPATH"] = root if not found else f"{root}{os.pathsep}{found}"
        self.process = subprocess.Popen(
            # Without its folder as a place of modules.
            [sys.executable, "-P", str(_PROGRAM), str(theirs_in), str(theirs_out)],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._out = Connection(ours_out, readable=False)
        self._in = Connection(ours_in, writable=False)

    @property
    def is_free(self) -> bool:
        """Whether a check may begin here: ours, alive, and nobody's at the moment."""
        return not self.is_taken and self.pid == os.getpid() and self.process.poll() is None

    def send(self, message: object) -> None:
        with suppress(BrokenPipeError):  # the answer tells
            self._out.send_bytes(pickle.dumps(message))

    def has_sent(self) -> bool:
        """Whether there is something to receive, the end of the pipe too."""
        return self._in.poll(0)

    def receive(self) -> object:
        try:
            if not self._in.poll(_ANSWER_S):
                return f"no answer within {_ANSWER_S:g} s"
            return pickle.loads(self._in.recv_bytes())  # noqa: S301  our own process
        except EOFError:
            return f"it ended with status {self.process.wait()}"

    def end(self) -> None:
        self._out.close()
        self._in.close()
        if self.pid == os.getpid():
            self.process.kill()
            self.process.wait()


_processes: dict[int, _Process] = {}
"""By hash seed, kept for the next check: to start one and import the kit takes half a second."""


@atexit.register
def _end_processes() -> None:
    for process in _processes.values():
        process.end()
    _processes.clear()


class Twin:
    """Folds by ``rules`` under hash seed ``hash_seed``; begins at once, and nobody waits for it."""

    def __init__(self, rules: Rules, *, hash_seed: int) -> None:
        """Take the process, or start it.

        Raises:
            RefusedError: the rules cannot be sent.
        """
        self.hash_seed = hash_seed
        start = _Start(
            dict(os.environ), str(Path.cwd()), list(sys.path), modules_of(rules), pack_rules(rules)
        )
        self._sent: list[object] = [start]  # until it is ready
        self._begin()

    def _begin(self) -> None:
        found = _processes.get(self.hash_seed)
        if found is None or not found.is_free:
            found = _Process(self.hash_seed)
            if self.hash_seed not in _processes or not _processes[self.hash_seed].is_taken:
                _processes[self.hash_seed] = found
        self._process = found
        self._process.is_taken = True
        self._waiting = len(self._sent)  # answers that are still to come: first, that it is ready
        self._is_ready = False
        for message in self._sent:
            self._process.send(message)

    def ask(self, lists: Sequence[Sequence[Envelope]], other: Collection[str] = ()) -> None:
        """Begin to fold ``lists`` there, in the surroundings named; `answers` gives the results.

        In one process, one list after the other, each onto nothing. What was asked before is not
        answered any more.
        """
        if self._is_ready or self._waiting > 1:
            self._last_answer()
        asked = _Request([list(events) for events in lists], sorted(other))
        if not self._is_ready:
            self._sent.append(asked)
        self._waiting += 1
        self._process.send(asked)

    def answers(self) -> list[Outcome]:
        """What came of each list that was asked last.

        Raises:
            RefusedError: it could not load the rules, ended, or raised outside of any applier.
        """
        found = self._last_answer()
        if not isinstance(found, list):
            raise RefusedError(f"a fold in another process failed ({found})")
        return found

    def _last_answer(self) -> object:
        if not self._is_ready:
            trouble = self._receive()
            if trouble is not None and self._process.is_old:
                # It may have ended since the last check, for reasons of its own.
                self._process.end()
                self._process.is_taken = False
                self._begin()
                trouble = self._receive()
            if trouble is not None:
                raise RefusedError(
                    f"the appliers cannot be loaded by another process ({trouble})",
                    do="move them to a module that can be imported without side effects; "
                    'or give allow=("process",) to leave that comparison out',
                )
            self._is_ready, self._sent = True, []
        found: object = None
        while self._waiting:
            found = self._receive()
        return found

    def _receive(self) -> object:
        self._waiting -= 1
        return self._process.receive()

    def close(self) -> None:
        """Give the process back; end it, if it is still busy or is not the one that is kept."""
        kept = _processes.get(self.hash_seed) is self._process
        while kept and self._waiting and self._process.has_sent():
            self._is_ready = self._receive() is None or self._is_ready
        if kept and self._is_ready and not self._waiting:
            self._process.send(_End())
            self._process.is_taken, self._process.is_old = False, True
            return
        self._process.end()
        if kept:
            del _processes[self.hash_seed]


# -- the other side ------------------------------------------------------------------------------


def serve(source: int, target: int) -> None:
    """Serve one check after the other, each in a fork of its own, until the pipe closes."""
    incoming = Connection(source, writable=False)
    outgoing = Connection(target, readable=False)
    with suppress(EOFError):
        while True:
            start = pickle.loads(incoming.recv_bytes())  # noqa: S301  our own process
            if isinstance(start, _End):  # of a check that ended before it was ready
                continue
            child = os.fork()
            if not child:
                _serve_one(start, incoming, outgoing)
            _, status = os.waitpid(child, 0)
            if status:
                return


def _serve_one(start: _Start, incoming: Connection, outgoing: Connection) -> None:
    """In a fork: load the rules, then fold what comes, until the check is over."""
    try:
        rules = _load(start)
    except BaseException as error:  # noqa: BLE001  told to the one who asked
        outgoing.send_bytes(pickle.dumps(f"{type(error).__name__}: {error}"))
        os._exit(1)
    outgoing.send_bytes(pickle.dumps(None))
    gc.freeze()  # what is there is not looked at in the forks, and so not copied
    try:
        while True:
            asked = pickle.loads(incoming.recv_bytes())  # noqa: S301  our own process
            if isinstance(asked, _End):
                os._exit(0)
            child = os.fork()
            if not child:
                _answer(rules, asked, outgoing)
            _, status = os.waitpid(child, 0)
            if status:
                outgoing.send_bytes(pickle.dumps(f"a process ended with status {status}"))
    except BaseException:  # noqa: BLE001  nobody asks any more
        os._exit(1)


def _answer(rules: Rules, asked: _Request, outgoing: Connection) -> None:
    """In a fork: answer, and end without anything that a program does at its end."""
    try:
        found: object = [_fold(rules, events, asked.other) for events in asked.lists]
    except BaseException:  # noqa: BLE001  told to the one who asked
        found = traceback.format_exc(limit=-3)
    status = 0
    try:
        outgoing.send_bytes(pickle.dumps(found))
    except BaseException:  # noqa: BLE001  the parent tells
        status = 1
    os._exit(status)


def _fold(rules: Rules, events: list[Envelope], other: list[str]) -> Outcome:
    with surrounded(other):
        return fold_each(rules, place(events), Instruments())


def _load(start: _Start) -> Rules:
    os.environ.clear()
    os.environ.update(start.environment)
    time.tzset()
    os.chdir(start.folder)
    sys.path[:] = start.path
    importlib.invalidate_caches()
    for module in start.modules:
        _import(module)
    rules = pickle.loads(start.rules)  # noqa: S301  our own process
    assert isinstance(rules, Rules)
    return rules


def _import(module: Module) -> None:
    """The module by its name, if that finds the same file, else from the file."""
    try:
        spec = importlib.util.find_spec(module.name)
    except (ImportError, ValueError, AttributeError):
        spec = None
    if spec is not None and spec.origin and Path(spec.origin).samefile(module.file):
        importlib.import_module(module.name)
        return
    spec = importlib.util.spec_from_file_location(module.name, module.file)
    if spec is None or spec.loader is None:
        raise ImportError(f"no module {module.name} in {module.file}")
    made = importlib.util.module_from_spec(spec)
    sys.modules[module.name] = made
    spec.loader.exec_module(made)
