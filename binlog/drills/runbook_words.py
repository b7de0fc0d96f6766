"""What a runbook says of every recovery alike: what addresses look like, and what if a step ends otherwise."""

from __future__ import annotations

from collections.abc import Iterable

from binlog.drills.result import PhaseName

# What the usual names stand for, and what one may look like.
ADDRESSES = {
    "log": ("the log", "kinesis://NAME?region=REGION, or file:DIR"),
    "live": ("the table that production reads", "dynamodb://NAME?region=REGION, or sqlite:FILE"),
    "lazy": ("the replica that follows behind", ""),
    "archive": ("the log's archive", "s3://BUCKET/PREFIX, or file:DIR"),
    "copy": ("the archive's copy in another region", ""),
    "snapshots": ("where snapshots are kept", "s3://BUCKET/PREFIX, or file:DIR"),
    "aside": ("a new store beside it, that nobody reads yet", ""),
    "other": ("a store in another place, or for a comparison", ""),
}
PHASES: dict[PhaseName, str] = {
    "detect": "see that it is this",
    "decide": "see what the recovery would do",
    "restore": "do it",
    "verify": "see that it is right",
    "switch": "let readers and consumers have it",
}
NOTHING: dict[PhaseName, str] = {
    "restore": "Nothing to type: it comes to an end by itself.",
    "switch": "Nothing to type: consumers go on by themselves. "
    'Wait until `binlog status "$LOG" STORE` says that nothing is behind.',
}
CAUGHT_UP = 'until `binlog status "$LOG" STORE` says that nothing is behind'

# Of commands that change nothing, whatever comes of them.
READ = (
    "check",
    "status",
    "verify",
    "diff",
    "blame",
    "parked",
    "halted",
    "digest",
    "doctor",
    "audit",
)
_OTHERWISE = {
    "rebuild": "Until it ends, readers see what was there before, and that stays if it fails or is "
    "killed: type it again. If it says that a process writes to the store, end that consumer first.",
    "restore": "Until it ends, readers see what was there before, and that stays if it fails or is "
    "killed: type it again.",
    "verify": "1 names each key that differs: nobody is led there; restore again. 2 says why the two "
    "cannot be compared: other appliers or exclusions made one, say.",
    "replicate": "It may be killed at any time, and goes on where its last commit was. If it ends by "
    "itself, its last line says why; that a process writes to the store names a consumer still there.",
    "redrive": "It writes nothing without `--yes`. 1: something stays parked, each key in its order up "
    "to the first event that still cannot be applied: mend that, and type it again.",
    "resolve": "1: somebody else has decided before, and otherwise. That one counts for every reader.",
    "archive": "It may be killed at any time, and goes on where the archive ends.",
    "snapshot": "Interrupted, it is gone on with by the next call; nobody sees half of one.",
}


def otherwise(verbs: Iterable[str]) -> list[str]:
    """Lines on what to do if one of these verbs of ``binlog`` ends with another status than it should."""
    used = list(dict.fromkeys(verbs))
    statuses = (
        "Every command says what is wrong, where, and what to do, in one line, and ends with 0: done; "
        "1: the answer is no; 2: what was typed cannot be done like that; 3: it failed on the way."
    )
    lines = [statuses, ""]
    read = [verb for verb in used if verb in READ]
    if read:
        verb = "changes" if len(read) == 1 else "change"
        lines.append(f"* {_listed(read)} {verb} nothing: again as often as you like.")
    lines += [f"* `{verb}`: {_OTHERWISE[verb]}" for verb in used if verb in _OTHERWISE]
    return lines


def _listed(verbs: list[str]) -> str:
    *first, last = [f"`{verb}`" for verb in verbs]
    return f"{', '.join(first)} and {last}" if first else last
