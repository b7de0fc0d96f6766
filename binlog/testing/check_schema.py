"""The lock file of event schemas as a test: ``check_schema(shop, "schema.lock.json")``."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from appliers.lock.check import check
from appliers.lock.document import DEFAULT_FILE
from appliers.lock.file import read_lock
from appliers.lock.finding import Words
from binlog.testing.subject import Source, rules_of
from binlog.testing.violation import Violation

_LAW = "schema"


def check_schema(
    source: Source, path: str | PathLike[str] = DEFAULT_FILE, *, complete: bool = True
) -> None:
    """Fail if events that may be in logs do not fit the code any more; nothing is written.

    ``path`` is the lock file, relative to the current directory, which ``binlog schema lock`` writes
    and you commit. ``complete``: fail as well if the code has types, versions or fields that are
    not locked yet, since what is not locked can change unseen.

    Raises:
        Violation: with every finding, one a line: field, old and new type, what to write.
        RefusedError: a lock file that was edited by hand or is damaged, a type that cannot be
            described; UpgradeError: a lock file of a newer format.
    """
    rules = rules_of(source)
    file = Path(path)
    words = Words(source if isinstance(source, str) else "", str(path))
    lock = read_lock(file)
    if lock is None:
        raise Violation(
            f"there is no lock file {file.absolute()}",
            law=_LAW,
            do=f"write it and commit it: {words.lock_command}",
        )
    found = [finding for finding in check(lock, rules, words) if finding.breaking or complete]
    if not found:
        return
    breaking = sum(finding.breaking for finding in found)
    if breaking:
        what = f"{breaking} change{'s' * (breaking != 1)} that events in logs do not fit"
    else:
        what = f"{path} is behind the code"
    raise Violation(
        what,
        law=_LAW,
        differences=[finding.what for finding in found],
        do="\n".join(dict.fromkeys(f"- {finding.do}" for finding in found)),
        repeat=f"binlog schema check {source} {path}" if isinstance(source, str) else "",
    )
