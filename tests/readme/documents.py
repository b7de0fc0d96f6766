"""A document of docs/ as a reader would follow it: files written, edits made, commands run.

From top to bottom, in one folder:

* a block ``python`` or ``toml`` whose first line is ``# NAME.py`` or ``# NAME.toml`` is that file;
* a block ``diff`` whose first line is ``--- NAME.py`` replaces its ``-`` lines, which stand in the
  file exactly once, by its ``+`` lines;
* a block ``console`` holds commands behind ``$``, each with what it prints; a line ``...`` stands
  for any number of lines, and ``...`` within a line for any text. ``$ ! COMMAND`` has to fail.

Every other block with one of these languages is an error: nothing may look run that is not.
``BINLOG_WRITE_DOCS=1`` writes what the commands print into the document instead of comparing.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```(python|toml|diff|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# ([\w/]+\.(?:py|toml|lock))\n")
_EDITED = re.compile(r"--- ([\w/]+\.py)\n")


@dataclass
class Command:
    """One command of a console block, and the lines below it."""

    text: str
    expected: list[str] = field(default_factory=list)

    @property
    def must_fail(self) -> bool:
        return self.text.startswith("! ")


def commands(block: str) -> list[Command]:
    """The commands of a console block.

    Raises:
        ValueError: it does not begin with one.
    """
    found: list[Command] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append(Command(line[2:]))
        elif not found:
            raise ValueError(f"output before a command: {line!r}")
        else:
            found[-1].expected.append(line)
    return found


def edit(text: str, block: str) -> str:
    """``text`` with the edit of a diff block.

    Raises:
        ValueError: what it takes out is not there, or more than once; or it is no diff.
    """
    lines = block.splitlines(keepends=True)
    if any(line[0] not in "+- " for line in lines):
        raise ValueError(f"neither + nor - nor a space: {block!r}")
    old = "".join(line[1:] for line in lines if line[0] in "- ")
    new = "".join(line[1:] for line in lines if line[0] in "+ ")
    if text.count(old) != 1 or old == new:
        raise ValueError(f"found {text.count(old)} times: {old!r}")
    return text.replace(old, new)


def matches(printed: str, expected: list[str]) -> bool:
    """Whether ``expected`` is what was printed; see the module about ``...``."""
    pattern = ""
    for line in expected:
        if line.strip() == "...":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += re.escape(line.rstrip()).replace(re.escape("..."), ".*?") + r"[ ]*\n"
    return re.fullmatch(pattern, printed.strip("\n") + "\n" if printed.strip() else "") is not None


def follow(document: Path, folder: Path) -> str:
    """Do what the document says, in ``folder``; its text with what the commands really print.

    Raises:
        AssertionError: a command prints something else, or ends otherwise.
        ValueError: a block that cannot be followed.
    """
    text = document.read_text(encoding="utf-8")

    def take(found: re.Match[str]) -> str:
        language, block = found.groups()
        if language == "console":
            return f"```console\n{_run_all(commands(block), folder)}```"
        named = (_EDITED if language == "diff" else _FILE).match(block)
        if named is None:
            raise ValueError(f"a block of {language} that names no file: {block[:60]!r}")
        path = folder / named[1]
        if language == "diff":
            old = path.read_text(encoding="utf-8")
            path.write_text(edit(old, block[named.end() :]), encoding="utf-8")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block, encoding="utf-8")
        return found[0]

    return _BLOCK.sub(take, text)


def _run_all(block: list[Command], folder: Path) -> str:
    written = ""
    for command in block:
        printed, status = run(command.text.removeprefix("! "), folder)
        said = f"$ {command.text}\n{printed}"
        assert bool(status) is command.must_fail, f"status {status}: {said}"
        if not os.environ.get("BINLOG_WRITE_DOCS"):
            assert matches(printed, command.expected), (
                f"it prints:\n{said}\nand the document says:\n" + "\n".join(command.expected)
            )
        elif not matches(printed, command.expected):
            command.expected = [line.rstrip() for line in printed.strip("\n").splitlines()]
        written += "".join(f"{line}\n" for line in (f"$ {command.text}", *command.expected))
    return written


def run(command: str, folder: Path) -> tuple[str, int]:
    """What a command prints, both streams in one, and its status."""
    hidden = ("PYTEST", "COV", "HYPOTHESIS", "BINLOG", "PYTHON")
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(hidden)},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join((str(folder), str(ROOT))),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONWARNINGS": "error",
        "COLUMNS": "100",
        "NO_COLOR": "1",
        "PYTEST_ADDOPTS": "-p no:cacheprovider",
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.stdout.replace(shlex.quote(str(folder)), "."), done.returncode
