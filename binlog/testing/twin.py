"""A second process that folds the same events: another hash seed, and nothing remembered.

It loads the user's modules once and waits. Each list of events is folded in a fork of it, so that
whatever an applier keeps between calls is not there. Requests and answers are pickled messages
over two pipes; a process of the check's own makes them, nobody else's.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Collection, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec

from appliers.applier import Rules
from binlog.envelope import Envelope
from binlog.errors import RefusedError
from binlog.testing.folding import Outcome, fold_each, place
from binlog.testing.instruments import Instruments
from binlog.testing.sending import Module, modules_of, pack_rules
from binlog.testing.surroundings import surrounded

_ANSWER_S = 60.0  # a fold of some events takes a millisecond


class _Start(msgspec.Struct):
    path: list[str]
    modules: list[Module]
    rules: bytes


class _Request(msgspec.Struct):
    events: list[Envelope]
    other: list[str]  # surroundings


class Twin:
    """The process with hash seed ``hash_seed``; starts at once, and is ready when first asked."""

    def __init__(self, rules: Rules, *, hash_seed: int) -> None:
        """Start it.

        Raises:
            RefusedError: the rules cannot be sent.
        """
        self.hash_seed = hash_seed
        packed = pack_rules(rules)
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        code = f"from binlog.testing.twin import serve; serve({theirs_in}, {theirs_out})"
        environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
        # Ours must be found first: it is what the other process begins with.
        root = str(Path(__file__).parents[2])
        found = os.environ.get("PYTHONPATH")
        environment["PYTHONPATH"] = root if not found else f"{root}{os.pathsep}{found}"
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
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
        self._is_ready = False
        self._send(_Start(list(sys.path), modules_of(rules), packed))

    def ask(self, events: Sequence[Envelope], other: Collection[str] = ()) -> None:
        """Begin to fold ``events`` there, in the surroundings named; `answer` gives the result.

        Raises:
            RefusedError: it could not load the rules.
        """
        if not self._is_ready:
            trouble = self._receive()
            if trouble is not None:
                raise RefusedError(
                    f"the appliers cannot be loaded by another process ({trouble})",
                    do="move them to a module that can be imported without side effects; "
                    'or give allow=("process",) to leave that comparison out',
                )
            self._is_ready = True
        self._send(_Request(list(events), sorted(other)))

    def answer(self) -> Outcome:
        """What came of what was asked.

        Raises:
            RefusedError: the process ended, or raised outside of any applier.
        """
        found = self._receive()
        if not isinstance(found, Outcome):
            raise RefusedError(f"a fold in another process failed ({found})")
        return found

    def close(self) -> None:
        """End it."""
        self._out.close()
        self._in.close()
        self._process.kill()
        self._process.wait()

    def _send(self, message: object) -> None:
        with suppress(BrokenPipeError):  # the answer tells
            self._out.send_bytes(pickle.dumps(message))

    def _receive(self) -> object:
        try:
            if not self._in.poll(_ANSWER_S):
                return f"no answer within {_ANSWER_S:g} s"
            return pickle.loads(self._in.recv_bytes())  # noqa: S301  our own process
        except EOFError:
            return f"it ended with status {self._process.wait()}"


# -- the other side ------------------------------------------------------------------------------


def serve(source: int, target: int) -> None:
    """Load the rules, then fold what comes, until the pipe closes."""
    incoming = Connection(source, writable=False)
    outgoing = Connection(target, readable=False)
    try:
        rules = _load(pickle.loads(incoming.recv_bytes()))  # noqa: S301  our own process
    except BaseException as error:  # noqa: BLE001  told to the one who asked
        outgoing.send_bytes(pickle.dumps(f"{type(error).__name__}: {error}"))
        return
    outgoing.send_bytes(pickle.dumps(None))
    gc.freeze()  # what is there is not looked at in the forks, and so not copied
    with suppress(EOFError):
        while True:
            request = incoming.recv_bytes()
            child = os.fork()
            if not child:
                _answer(rules, request, outgoing)
            _, status = os.waitpid(child, 0)
            if status:
                outgoing.send_bytes(pickle.dumps(f"a process ended with status {status}"))


def _answer(rules: Rules, request: bytes, outgoing: Connection) -> None:
    """In a fork: answer, and end without anything that a program does at its end."""
    try:
        asked: _Request = pickle.loads(request)  # noqa: S301  our own process
        with surrounded(asked.other):
            found: object = fold_each(rules, place(asked.events), Instruments())
    except BaseException:  # noqa: BLE001  told to the one who asked
        found = traceback.format_exc(limit=-3)
    status = 0
    try:
        outgoing.send_bytes(pickle.dumps(found))
    except BaseException:  # noqa: BLE001  the parent tells
        status = 1
    os._exit(status)


def _load(start: _Start) -> Rules:
    sys.path[:] = start.path
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
