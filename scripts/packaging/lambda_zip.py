"""A zip file for Lambda: our four packages, what they import there, and the user's own modules.

What is left out, because a function never imports it: the command line and what draws its tables
(click, rich), the test kit, and boto3, which Lambda's runtimes bring (``--boto3`` takes the pinned one
along, with the descriptions of four services instead of four hundred). `REQUIRED` is what remains; a
test imports the handler from the package alone, and fails where one is missing.

Lambda's disk is read-only: without ``.pyc`` files every cold start would compile every module. They
are made where the builder's Python is the function's, and are taken as they are, unchecked.

The same input gives the same bytes: names are sorted, times are 1980, so `CodeSha256` tells whether
anything changed.
"""

from __future__ import annotations

import argparse
import os
import platform
import py_compile
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[2]
ZIP_BYTES_MAX = 15_000_000
"""Our own limit, without boto3. Lambda's: 50 MB uploaded directly, 250 MB unpacked."""

REQUIRED = ("backports.zstd", "google-crc32c", "msgspec", "structlog", "uuid-utils")
"""Distributions that the handler imports. Of these none needs another, but for typing at most."""
SDK = ("boto3", "botocore", "jmespath", "s3transfer", "urllib3", "python-dateutil", "six")
SDK_SERVICES = ("kinesis", "dynamodb", "lambda", "sts", "kms")
_OURS = ("binlog", "appliers", "snapshots", "consumers")
_NOT_OURS = ("binlog/cli", "binlog/testing", "binlog/pytest_plugin.py")
_ARCHITECTURES = {"arm64": "aarch64", "x86_64": "x86_64"}
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip file can say
_EXECUTABLE, _PLAIN = 0o100755, 0o100644  # both readable by Lambda's user, as they must be


class Target(msgspec.Struct, frozen=True):
    """Where the package is going to run."""

    python: str = "3.13"
    arch: str = "arm64"

    @property
    def is_here(self) -> bool:
        """Whether this interpreter can run it, and compile for it."""
        here = f"{sys.version_info[0]}.{sys.version_info[1]}"
        machine = platform.machine().lower().replace("amd64", "x86_64")
        return (self.python, _ARCHITECTURES[self.arch]) == (here, machine)


HERE = Target(
    f"{sys.version_info[0]}.{sys.version_info[1]}",
    "arm64" if platform.machine().lower() in {"arm64", "aarch64"} else "x86_64",
)


class Built(msgspec.Struct, frozen=True):
    """A package that was built."""

    path: Path
    zipped_bytes: int
    unpacked_bytes: int
    files: int
    compiled: bool


def build(
    output: Path,
    target: Target,
    *,
    add: Sequence[Path] = (),
    with_boto3: bool = False,
) -> Built:
    """Build the package; ``add`` are modules and folders of the user's, put at its root.

    Raises:
        subprocess.CalledProcessError: pip cannot find what is needed.
        FileNotFoundError: one of ``add`` is not there.
    """
    with tempfile.TemporaryDirectory(prefix="binlog-lambda-") as scratch:
        folder = Path(scratch) / "package"
        folder.mkdir()
        _install(folder, target, REQUIRED + (SDK if with_boto3 else ()))
        _prune(folder)
        for name in _OURS:
            shutil.copytree(ROOT / name, folder / name, ignore=_left_out)
        for path in add:
            _add(path, folder)
        if target.is_here:
            _compile(folder)
        _write(folder, output)
        files = [path for path in folder.rglob("*") if path.is_file()]
        return Built(
            output,
            output.stat().st_size,
            sum(path.stat().st_size for path in files),
            len(files),
            target.is_here,
        )


def _install(folder: Path, target: Target, names: Sequence[str]) -> None:
    """Wheels for the target; nothing of ours is run, so nothing of theirs is built."""
    machine = _ARCHITECTURES[target.arch]
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in (28, 26, 17)]
    platforms.append(f"manylinux2014_{machine}")
    wanted = [n for n in names if n != "backports.zstd" or _minor(target) < 14]
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"),
            *("install", "--quiet", "--no-deps", "--no-compile", "--only-binary", ":all:"),
            *("--target", str(folder), "--python-version", target.python),
            *("--implementation", "cp"),
            *(part for each in platforms for part in ("--platform", each)),
            *("-c", str(ROOT / "constraints.txt"), *wanted),
        ],
        check=True,
    )


def _minor(target: Target) -> int:
    return int(target.python.partition(".")[2])


def _prune(folder: Path) -> None:
    """Of what was installed: what only pip reads, tests, and services that nobody calls."""
    for path in [*folder.glob("*.dist-info"), folder / "bin", *folder.rglob("tests")]:
        shutil.rmtree(path, ignore_errors=True)
    for path in (folder / "botocore" / "data").glob("*/"):
        if path.is_dir() and path.name not in SDK_SERVICES:
            shutil.rmtree(path)
    for pattern in ("*.pyi", "*.c", "*.h", "py.typed"):
        for path in folder.rglob(pattern):
            path.unlink()


def _left_out(folder: str, names: list[str]) -> set[str]:
    """Of our packages: see the module."""
    here = Path(folder).relative_to(ROOT)
    return {
        name
        for name in names
        if (here / name).as_posix() in _NOT_OURS or name in {"__pycache__", "py.typed"}
    }


def _add(path: Path, folder: Path) -> None:
    if path.is_dir():
        ignored = shutil.ignore_patterns("__pycache__", ".*")
        shutil.copytree(path, folder / path.name, ignore=ignored, dirs_exist_ok=True)
    else:
        shutil.copy(path, folder / path.name)


def _compile(folder: Path) -> None:
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    for path in sorted(folder.rglob("*.py")):
        name = str(path.relative_to(folder))  # what a traceback shows, and the same everywhere
        py_compile.compile(str(path), dfile=name, doraise=True, invalidation_mode=unchecked)


def _write(folder: Path, output: Path) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.name}.{os.getpid()}")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path, name in _entries(folder):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            mode = _EXECUTABLE if path.suffix == ".so" else _PLAIN
            entry.external_attr = mode << 16
            archive.writestr(entry, path.read_bytes(), compresslevel=9)
    partial.replace(output)


def _entries(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(folder.rglob("*"), key=lambda each: each.relative_to(folder).as_posix()):
        if path.is_file():
            yield path, path.relative_to(folder).as_posix()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; the exit status."""
    options = _parse(arguments)
    target = Target(options.python, options.arch)
    try:
        built = build(options.output, target, add=options.add, with_boto3=options.boto3)
    except FileNotFoundError as error:
        print(f"lambda-zip: {error.filename}: no such file or folder", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        print(f"lambda-zip: pip failed with status {error.returncode}: see above", file=sys.stderr)
        return 3
    what = "" if built.compiled else ", not compiled: this Python is not the function's"
    print(
        f"{built.path}: {built.zipped_bytes / 1e6:.1f} MB ({built.unpacked_bytes / 1e6:.1f} MB"
        f" unpacked, {built.files} files{what})"
    )
    if not options.boto3 and built.zipped_bytes > ZIP_BYTES_MAX:
        print(f"lambda-zip: above {ZIP_BYTES_MAX / 1e6:g} MB", file=sys.stderr)
        return 1
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/lambda-zip", description=(__doc__ or "").strip())
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--output", type=Path, default=Path("build/binlog-lambda.zip"))
    parser.add_argument("--python", default="3.13", choices=["3.11", "3.12", "3.13", "3.14"])
    parser.add_argument("--arch", default="arm64", choices=sorted(_ARCHITECTURES))
    parser.add_argument(
        "--add", type=Path, action="append", default=[], metavar="PATH", help="your own modules"
    )
    parser.add_argument("--boto3", action="store_true", help="take the pinned SDK along")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
