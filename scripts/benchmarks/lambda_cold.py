"""The Lambda consumer's package, and what a cold start takes, measured in the unpacked package.

As Lambda does it: a fresh process, the package first on the path and nothing else of this machine but
the SDK, which the runtimes bring. The package is built once a run, for this interpreter.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from functools import cached_property
from importlib.metadata import distribution
from pathlib import Path

from scripts.benchmarks.measure import UnavailableError
from scripts.packaging.lambda_zip import HERE, SDK, ZIP_BYTES_MAX, Built, build

IMPORT_SECONDS_MAX = 0.5
ZIP_MEGABYTES_MAX = ZIP_BYTES_MAX / 1e6
HANDLER = "consumers.aws_lambda"
_IMPORT = f"""
import time
begun, spent = time.perf_counter(), time.process_time()
import {HANDLER}
print(time.perf_counter() - begun, time.process_time() - spent)
"""
_SETTINGS = {
    "BINLOG_LOG": "kinesis://orders",
    "BINLOG_STORE": "dynamodb://live",
    "AWS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_LAMBDA_FUNCTION_NAME": "applier",
}


class Package:
    """The package, built and unpacked in a folder of the run."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch

    @cached_property
    def built(self) -> Built:
        """The zip file.

        Raises:
            UnavailableError: no package index can be reached.
        """
        self._scratch.mkdir(parents=True, exist_ok=True)
        try:
            return build(self._scratch / "binlog-lambda.zip", HERE)
        except subprocess.CalledProcessError as error:
            raise UnavailableError(f"pip failed with status {error.returncode}") from error

    @cached_property
    def folder(self) -> Path:
        """What is in it."""
        folder = self._scratch / "task"
        with zipfile.ZipFile(self.built.path) as archive:
            archive.extractall(folder)
        return folder

    @cached_property
    def sdk(self) -> Path:
        """The runtime's own packages, as links to those of this environment."""
        folder = self._scratch / "runtime"
        folder.mkdir(parents=True, exist_ok=True)
        for name in SDK:
            for top in {str(path).split("/", 1)[0] for path in distribution(name).files or ()}:
                found = Path(str(distribution(name).locate_file(top)))
                if found.exists() and not top.startswith((".", "__pycache__")):
                    (folder / top).symlink_to(found)
        return folder

    def import_seconds(self) -> float:
        """A fresh interpreter imports the handler; settings and SDK clients included."""
        return self.measure_import()[0]

    def measure_import(self) -> tuple[float, float]:
        """Seconds that it takes, and of these of the CPU: all of them on a machine at rest."""
        done = subprocess.run(
            [sys.executable, "-S", "-c", _IMPORT],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"the package does not import: {done.stderr}")
        wall, cpu = map(float, done.stdout.split())
        return wall, cpu

    @property
    def environment(self) -> dict[str, str]:
        """Of a function in the package."""
        path = os.pathsep.join((str(self.folder), str(self.sdk)))
        return {
            **_SETTINGS,
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "PYTHONPATH": path,
        }


def main() -> int:
    """Print the figures; 1 where a goal is missed."""
    with tempfile.TemporaryDirectory(prefix="binlog-lambda-") as scratch:
        package = Package(Path(scratch))
        size = package.built.zipped_bytes / 1e6
        package.import_seconds()  # the disk's cache
        seconds, cpu = sorted(package.measure_import() for _ in range(7))[3]
    print(f"zip file           {size:6.1f} MB, goal <= {ZIP_MEGABYTES_MAX:g} MB")
    goal = f"goal <= {IMPORT_SECONDS_MAX:g} s"
    print(f"import of handler  {seconds:6.3f} s, {goal} ({cpu:.3f} s of the CPU)")
    return int(size > ZIP_MEGABYTES_MAX or seconds > IMPORT_SECONDS_MAX)


if __name__ == "__main__":
    sys.exit(main())
