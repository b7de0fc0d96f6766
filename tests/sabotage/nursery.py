"""A process that has imported what every test needs, and runs each killer in a child of its own.

A third of what it takes to run one test is the import of pytest, Hypothesis and the service
libraries, the same for each of hundreds of mutations. So a process that has done so waits for work
and forks; nothing of the tree is imported before the fork, and no child sees what another has done.

Started as ``python -m tests.sabotage.nursery``, it reads a line of JSON a job from standard input
(``tree``, ``tests``, ``timeout``) and answers with one (``status``, ``output``; 124: it hung).
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NoReturn

_LIBRARIES = (
    *("pytest", "hypothesis", "hypothesis.stateful", "hypothesis.extra._patching"),
    *("msgspec", "click", "structlog", "boto3", "botocore.session", "botocore.endpoint"),
    *("pytest_timeout", "xdist", "_pytest.assertion.rewrite", "_pytest.terminal"),
)
_HUNG = 124
_POLL_S = 0.005


def main() -> None:
    """Serve until standard input ends."""
    for name in _LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    jobs, answers = sys.stdin, os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever prints: standard output is the protocol's
    for line in jobs:
        job = json.loads(line)
        with (
            tempfile.TemporaryDirectory(prefix="killer-", ignore_cleanup_errors=True) as folder,
            tempfile.TemporaryFile() as output,
        ):
            os.environ["TMPDIR"] = folder  # the child's: it ends without clearing up
            status = _run(Path(job["tree"]), job["tests"], job["timeout"], output)
            output.seek(0)
            text = output.read().decode(errors="replace")
        # Whole: where CI is set, pytest writes a failure's line however long it is.
        print(json.dumps({"status": status, "output": text}), file=answers, flush=True)


def _run(tree: Path, tests: Sequence[str], timeout: float, output: IO[bytes]) -> int:
    child = os.fork()
    if not child:
        _test(tree, tests, output)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(_POLL_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return _HUNG


def _test(tree: Path, tests: Sequence[str], output: IO[bytes]) -> NoReturn:
    """Be the process of one killer."""
    status = 3  # pytest's own for "internal error"
    try:
        os.setsid()  # so that whatever it starts ends with it
        devnull = os.open(os.devnull, os.O_RDONLY)
        os.dup2(devnull, 0)
        for descriptor in (1, 2):
            os.dup2(output.fileno(), descriptor)
        os.chdir(tree)
        os.environ["PYTHONPATH"] = str(tree)
        tempfile.tempdir = None  # found again, by TMPDIR
        sys.path[:] = [str(tree), *(p for p in sys.path if p and not _holds_the_tests(p))]
        for name in [n for n in sys.modules if n.partition(".")[0] == "tests"]:
            del sys.modules[name]
        importlib.invalidate_caches()
        import pytest

        status = int(
            pytest.main(
                [
                    *("-x", "-q", "--tb=line", "-p", "no:cacheprovider", "--timeout=0"),
                    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # of plugins, as here
                    *("-p", "tests.sabotage.counting", "-o", "faulthandler_timeout=0"),
                    *tests,
                ]
            )
        )
    except SystemExit as stopped:
        status = stopped.code if isinstance(stopped.code, int) else 3
    except BaseException:  # noqa: BLE001  told by the status and the output: this is a process
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _holds_the_tests(path: str) -> bool:
    """Whether it is the checkout, whose modules are not the ones to be tested."""
    return (Path(path) / "tests/sabotage").is_dir()


if __name__ == "__main__":
    main()
