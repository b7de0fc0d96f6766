"""Copying what is stored, as it is typed: ``cp {copy}/KEY {archive}/KEY`` in a drill, wherever that is."""

from __future__ import annotations

import re
from collections.abc import Mapping

_CP = "cp "
_PLACE = re.compile(r"\{(\w+)\}/")


def copying_files(command: str, addresses: Mapping[str, str]) -> str:
    """Of this machine: their paths, since ``cp`` knows no addresses."""
    if not command.startswith(_CP):
        return command
    return _PLACE.sub(lambda found: f"{addresses[found[1]].removeprefix('file:')}/", command)


def copying_objects(command: str) -> str:
    """Of S3, by the AWS command line."""
    return f"aws s3 {command}" if command.startswith(_CP) else command
