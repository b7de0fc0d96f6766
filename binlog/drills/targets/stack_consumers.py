"""What keeps a store on the stack: ``live`` a Lambda function behind its mapping, ``lazy`` the KCL.

A drill types ``binlog replicate {log} {live}`` and means whatever keeps that store where it takes
place. Every other store, and whoever comes to an end (``--once``), is `binlog replicate` there, too.
"""

from __future__ import annotations

import re
import shlex

_FOLLOW = re.compile(r"binlog replicate \{log\} \{(live|lazy)\}(?P<options> .*)?")
_INSTEAD = {
    "live": "scripts/stack lambda {log} {live}",
    # One name over all restarts, as a consumer of the KCL has to have, and quick to notice.
    "lazy": "binlog kcl run {log} {lazy} --worker w1 --profile test",
}


def by_consumers(command: str) -> str:
    """A drill's command as it is typed on the stack; what is no consumer stays as it is."""
    found = _FOLLOW.fullmatch(command)
    if found is None:
        return command
    words = shlex.split(found["options"] or "")
    instead = _INSTEAD[found[1]].split(" ")
    while words:
        match words.pop(0):
            case "--park":
                instead += ["--poison", "park"]
            case "--appliers" if words:
                instead += ["--appliers", words.pop(0)]
            case _:
                return command
    return " ".join(instead)
