"""Runs pytest; what fails beside thousands of other tests runs once more by itself.

    python -m tests.steadily [pytest's options and paths]

A test whose verdict depends on what else the machine does is a defect, of the product until shown
otherwise. It is told by name in a line of its own (``unsteady: ``), which `scripts/test` counts; but it
does not hold up everybody else's work. More than `MOST` failures at once are no chance, and nothing but
failures of tests is looked at twice: errors of collection, a run that was ended and a test that fails
twice are failures. Exit status: pytest's.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

MOST = 2
_TESTS_FAILED = 1  # pytest's exit status


def main(options: Sequence[str]) -> int:
    with tempfile.TemporaryDirectory() as cache:
        pytest = [sys.executable, "-m", "pytest", "-o", f"cache_dir={cache}", *options]
        status = subprocess.run(pytest, check=False).returncode
        if status != _TESTS_FAILED:
            return status
        failed = _failed(Path(cache))
        if not 0 < len(failed) <= MOST:
            return status
        print("\nWhat failed runs once more, by itself:", flush=True)
        # By itself: `-n 0`, should they have been shared by several processes, comes later and wins.
        again = subprocess.run([*pytest, "--last-failed", "-n", "0"], check=False).returncode
        if again:
            return again
    for test in failed:
        print(f"unsteady: {test} failed, and passed by itself", flush=True)
    return 0


def _failed(cache: Path) -> list[str]:
    """Names of the tests that failed, as pytest remembers them."""
    try:
        return list(json.loads((cache / "v/cache/lastfailed").read_bytes()))
    except FileNotFoundError:
        return []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
