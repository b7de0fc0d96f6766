"""What an error advises, with the addresses that were typed: so that one can paste it.

The library knows neither which verb it runs under nor what its user called the log. Here both are
known: a denial names the policy of the verb's role, a halt the command that decides it.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from binlog.errors import BinlogError

if TYPE_CHECKING:
    from binlog.aws.policies import Role

_NO_NAME = "LOG"


def advised(error: BinlogError, role: Role | None, given: Mapping[str, Any]) -> BinlogError:
    """``error``, or the same with better advice; ``given`` are a verb's parameters by name."""
    if (halt := error.details.get("halt")) is not None:
        from binlog.halt import halted_error

        return halted_error(halt, error.where, log=_halted_log(error.where, given))  # type: ignore[arg-type]
    if role is not None and error.details.get("grants"):
        if given.get("store") and not _sorted(given)[1]:
            role = "reader"  # what is written is a file
        from binlog.aws import errors

        return errors.advised(error, role, *_addresses(error.where, role, given))
    return error


def _addresses(where: str, role: Role, given: Mapping[str, Any]) -> list[str]:
    """LOG and STORE, or INBOX and LOG, as far as they were given."""
    logs, stores = _sorted(given)
    if role == "relay":
        return [str(given[name]) for name in ("inbox", "log") if name in given]
    # Of two stores the one that denied it.
    named = [each for each in stores if each.partition("?")[0] in where] or stores
    return [*(logs or [_NO_NAME])[:1], *named[:1]]


def _halted_log(where: str, given: Mapping[str, Any]) -> str:
    """The log that was typed; of a relay's two the one of the place."""
    logs, _ = _sorted(given)
    named = [each for each in logs if len(logs) == 1 or _path(each) in where]
    return shlex.quote(named[0]) if len(set(named)) == 1 else _NO_NAME


def _path(log: str) -> str:
    scheme, _, rest = log.partition(":")
    rest = rest.partition("?")[0]
    return str(Path(rest).absolute()) if scheme == "file" else f"{scheme}:{rest}"


def _sorted(given: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The addresses of logs and those of a service's stores, in the order of their names."""
    typed = [given[name] for name in ("log", "inbox", "store", "other") if given.get(name)]
    logs = [each for each in typed if each.startswith(("file:", "kinesis:"))]
    return logs, [each for each in typed if each.startswith("dynamodb:")]
