"""Runs the kit on a user's appliers as the user would: pytest, in a folder of their own.

Default settings, default seed, no configuration of ours: the sample, its test, and its schema lock
as the correct sample wrote it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.sabotage.mistakes import CORRECT, Mistake

ROOT = Path(__file__).parents[2]
FOUND, NOT_FOUND, WRONG_LAW, UNCLEAR = "found", "NOT FOUND", "WRONG LAW", "WORDS MISSING"
BROKEN, PASSED, FAILED = "COULD NOT BE RUN", "passed", "FAILS"
GOAL_SECONDS = 5.0
"""Of the median mistake."""


@dataclass
class Proof:
    """What became of one mistake, or of one correct sample."""

    mistake: str
    verdict: str
    law: str = ""  # that named it
    examples: int | None = None  # until it was found; making it small is not counted
    seconds: float = 0.0  # of the whole run of pytest
    note: str = ""
    good: bool = False
    said: str = ""  # the whole message


@dataclass
class _Told:
    status: int
    failures: list[dict[str, str]]
    examples: int
    seconds: float
    output: str


def prove(mistake: Mistake, timeout: float) -> Proof:
    """The kit on a sample with the mistake in it."""
    proof = Proof(mistake.title, BROKEN)
    try:
        text = mistake.text()
    except (ValueError, SyntaxError) as error:
        proof.note = str(error)
        return proof
    with _folder(mistake.sample) as folder:
        (folder / f"{mistake.sample}.py").write_text(text, encoding="utf-8")
        told = _pytest(folder, mistake.test, timeout)
    proof.seconds, proof.examples = told.seconds, told.examples or None
    if told.status == 0:
        proof.verdict, proof.note = NOT_FOUND, f"{mistake.check} passes"
    elif told.status != 1 or not told.failures:
        proof.note = _last_line(told.output)
    else:
        _judge(proof, mistake, told.failures[0])
    return proof


def _judge(proof: Proof, mistake: Mistake, failure: dict[str, str]) -> None:
    proof.law, proof.said = failure["law"], failure["text"]
    missing = [w for w in mistake.words if w.casefold() not in proof.said.casefold()]
    if proof.law != mistake.law:
        proof.verdict = WRONG_LAW
        proof.note = f"not {mistake.law}: {proof.said.splitlines()[0][:120]}"
    elif missing:
        proof.verdict = UNCLEAR
        proof.note = f"says nothing of {', '.join(missing)}: {proof.said.splitlines()[0][:120]}"
    else:
        proof.verdict, proof.good = FOUND, True


def control(sample: str, timeout: float) -> Proof:
    """The kit on a correct sample, all its tests: it has nothing to say."""
    proof = Proof(f"control: {sample} as it should be", FAILED)
    with _folder(sample) as folder:
        told = _pytest(folder, f"prove_{sample}.py", timeout)
    proof.seconds, proof.examples = told.seconds, told.examples or None
    if told.status == 0:
        proof.verdict, proof.good = PASSED, True
    elif told.failures:
        proof.law, proof.said = told.failures[0]["law"], told.failures[0]["text"]
        proof.note = proof.said.splitlines()[0][:160]
    else:
        proof.note = _last_line(told.output)
    return proof


def summary(proofs: list[Proof]) -> str:
    """One line, of the mistakes alone."""
    mistakes = [p for p in proofs if p.verdict not in (PASSED, FAILED)]
    found = sum(p.good for p in mistakes)
    times = [p.seconds for p in mistakes] or [0.0]
    return (
        f"{found} of {len(mistakes)} mistakes found, median {median(times):.1f} s (goal "
        f"{GOAL_SECONDS:g}), slowest {max(times):.1f} s; {sum(p.verdict == PASSED for p in proofs)} correct samples passed"
    )


@contextmanager
def _folder(sample: str) -> Iterator[Path]:
    """A user's project: the sample, its test, and the lock that was made of the correct sample."""
    with tempfile.TemporaryDirectory(prefix="binlog-user-") as name:
        folder = Path(name)
        for path in CORRECT.glob(f"*{sample}.*"):
            shutil.copy2(path, folder / path.name)
        yield folder


def _pytest(folder: Path, test: str, timeout: float) -> _Told:
    told = folder / "told.json"
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    command += ["-p", "tests.sabotage.counting", "-p", "tests.sabotage.telling", test]
    hidden = ("PYTEST", "COV", "HYPOTHESIS", "BINLOG", "PYTHON")
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(hidden)},
        "PYTHONPATH": os.pathsep.join((str(folder), str(ROOT))),
        "PYTHONDONTWRITEBYTECODE": "1",
        "SABOTAGE_TOLD": str(told),
    }
    start = time.monotonic()
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return _Told(124, [], 0, time.monotonic() - start, f"no end after {timeout:.0f} s")
    seconds = time.monotonic() - start
    examples = re.search(r"^examples: (\d+)", done.stdout, re.MULTILINE)
    return _Told(
        done.returncode,
        json.loads(told.read_text(encoding="utf-8")) if told.exists() else [],
        int(examples[1]) if examples else 0,
        seconds,
        done.stdout[-4_000:] + done.stderr[-2_000:],
    )


def _last_line(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    wanted = [line for line in lines if re.match(r"E  |ERROR|.*Error", line)] or lines
    return wanted[-1].strip()[:160] if wanted else "no output"
