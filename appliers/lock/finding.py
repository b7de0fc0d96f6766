"""What a check of a lock finds, in words: what, where, before and after, and what to write."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from appliers.lock.comparison import Change
from appliers.lock.document import DEFAULT_FILE

Place: TypeAlias = tuple[str, str | None, int | None]
"""A function: event type ("": an owner), table, and the schema that an upcaster is from."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One finding. One that is not ``breaking`` only says that the lock is behind the code."""

    kind: str
    what: str
    do: str
    type: str = ""  # "" for the owner of a table
    schema: int | None = None
    table: str | None = None
    field: str = ""
    before: str = ""
    after: str = ""
    breaking: bool = True

    def __str__(self) -> str:
        return f"{self.what}: {self.do}"

    def document(self) -> dict[str, Any]:
        """As the command prints it with ``--json``."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


class Words:
    """Finds the words; ``name`` is what the user calls the appliers, ``module:object``."""

    def __init__(self, name: str, path: str) -> None:
        self.object = name.rpartition(":")[2] or "appliers"
        file = "" if path == DEFAULT_FILE else f" {path}"
        self.lock_command = f"binlog schema lock {name or 'MODULE:OBJECT'}{file}"

    # -- shapes ----------------------------------------------------------------------------------

    def changed(self, event_type: str, schema: int, change: Change, *, newest: bool) -> Finding:
        """A shape that changed in place."""
        place = f"field {change.path}" if change.path else "its data"
        was = f"it was {change.before}" if not change.after else f"{change.before} before"
        difference = f"{was}, {change.after} now" if change.before and change.after else was
        difference = difference if change.before else change.after
        what = f"{event_type}, schema {schema}, {place}: {change.kind}: {difference}"
        if not change.breaking:
            do = f"old events fit; lock it: {self.lock_command}"
        elif newest:
            do = (
                f"keep the old type as {event_type}V{schema}, raise the schema to {schema + 1} and "
                f"write {self.upcaster_line(event_type, schema)}; "
                f"{self.unpublished(event_type, schema)}"
            )
        else:
            do = (
                f"events of schema {schema} are in logs for ever, put its type back as it was; "
                f"what is new goes into a new schema"
            )
        return Finding(
            kind=change.kind,
            what=what,
            do=do,
            type=event_type,
            schema=schema,
            field=change.path,
            before=change.before,
            after=change.after,
            breaking=change.breaking,
        )

    def upcaster_line(self, event_type: str, schema: int) -> str:
        """The line of code that declares the step from ``schema``."""
        return (
            f'@{self.object}.upcaster("{event_type}", from_version={schema}, '
            f"data={event_type}V{schema})"
        )

    def unpublished(self, event_type: str, schema: int) -> str:
        """The way out for what only ever stood in a branch."""
        name = event_type if schema == 1 else f"{event_type}@{schema}"
        return f"or, if none of it was ever published: {self.lock_command} --unpublished {name}"

    def undeclared(self, event_type: str, schema: int, *, newest: bool) -> Finding:
        """The type of the data is not declared any more."""
        if newest:
            line = f'{self.object}.event_type("{event_type}", schema={schema}, data=...)'
        else:
            line = self.upcaster_line(event_type, schema)
        return Finding(
            kind="data not declared",
            what=f"{event_type}, schema {schema}: locked with the type of its data, now without",
            do=f"declare it again: {line}",
            type=event_type,
            schema=schema,
        )

    def dropped(self, event_type: str) -> Finding:
        """No such type any more."""
        return Finding(
            kind="type dropped",
            what=f"{event_type}: locked, and no applier or event_type declares it now",
            do=(
                f"its events are in logs for ever: put it back, at least as "
                f'{self.object}.event_type("{event_type}"); {self.unpublished(event_type, 1)}'
            ),
            type=event_type,
        )

    def steps_removed(self, event_type: str, locked: int, known: int) -> Finding:
        """The newest version is older than the locked one."""
        return Finding(
            kind="upcaster removed",
            what=f"{event_type}: schema {locked} is locked, and this code knows up to {known}",
            do=(
                f"put the upcaster back: {self.upcaster_line(event_type, known)}; "
                f"{self.unpublished(event_type, known + 1)}"
            ),
            type=event_type,
            schema=locked,
            before=str(locked),
            after=str(known),
        )

    # -- golden events ---------------------------------------------------------------------------

    def bytes_changed(self, event_type: str, schema: int, golden: str, why: str) -> Finding:
        """The canonical bytes are not what they were."""
        return Finding(
            kind="canonical bytes",
            what=f"{event_type}, schema {schema}, golden event {golden!r}: {why}",
            do="values must have the same bytes for ever: report it, and go back to the release "
            "that wrote the lock",
            type=event_type,
            schema=schema,
        )

    def upcaster_fails(self, event_type: str, schema: int, golden: str, why: str) -> Finding:
        """An upcaster that does not take what its declared type allows."""
        return Finding(
            kind="upcaster not total",
            what=(
                f"{event_type}: the upcaster from schema {schema} fails on the golden event "
                f"{golden!r} ({why})"
            ),
            do="it meets each such event at every reading: make it take all data of its type",
            type=event_type,
            schema=schema,
        )

    def upcast_misfit(self, event_type: str, schema: int, golden: str, why: str) -> Finding:
        """An upcaster whose result is not of the next version's type."""
        return Finding(
            kind="upcaster's result",
            what=(
                f"{event_type}: what the upcaster from schema {schema} makes of the golden event "
                f"{golden!r} is not of schema {schema + 1}'s type: {why}"
            ),
            do="mend the upcaster, or the type",
            type=event_type,
            schema=schema,
        )

    # -- functions -------------------------------------------------------------------------------

    def function(self, event_type: str, table: str | None, schema: int | None) -> tuple[str, str]:
        """An applier, upcaster or owner in words, and the code that declares it, less its end."""
        if schema is not None:
            return (
                f"the upcaster from schema {schema}",
                f'@{self.object}.upcaster("{event_type}", from_version={schema}',
            )
        if not event_type:
            return f"the owner of table {table}", f'{self.object}.table("{table}", owner=...'
        if table:
            return (
                f"the applier for table {table}",
                f'@{self.object}.on("{event_type}", table="{table}"',
            )
        return "the applier", f'@{self.object}.on("{event_type}"'

    def computes_otherwise(self, place: Place, version: int, differing: str) -> Finding:
        """Another result under the same declared version."""
        what, code = self.function(*place)
        return self._of(
            place,
            "computes something else",
            f"{what} computes something else, and is still version {version}: {differing}",
            f"declare {code}, version={version + 1}), lock and rebuild; or, if it is not pure "
            "(time, random numbers, the order of a set), make it so",
        )

    def source_changed(self, place: Place, version: int, played: int) -> Finding:
        """Another source that did the same to all golden events."""
        what, code = self.function(*place)
        vouched = (
            f"{played} golden event{'s come' if played != 1 else ' comes'} out the same"
            if played
            else "no golden event passes through it"
        )
        return self._of(
            place,
            "source changed",
            f"the source of {what} changed, and it is still version {version} ({vouched})",
            f"if it computes the same: {self.lock_command} --same-meaning; if not, "
            f"declare {code}, version={version + 1}) and rebuild",
        )

    def version_back(self, place: Place, locked: int, now: int) -> Finding:
        """A version below the locked one."""
        what, code = self.function(*place)
        return self._of(
            place,
            "version went back",
            f"{what} is declared as version {now}, and {locked} is locked",
            f"versions only go up: {code}, version={locked}), or above if it computes "
            "something else",
        )

    def function_removed(self, place: Place) -> Finding:
        """No such function any more."""
        event_type, table, _ = place
        what, code = self.function(*place)
        kind = "applier removed" if event_type else "owner removed"
        lost = "its events would count for nothing" if event_type else "other events own its items"
        return self._of(
            place,
            kind,
            f"{what} is locked, and there is none now",
            f"put it back, {code}), or {lost}; if that is meant: {self.lock_command} "
            f"--retire {event_type}:{table}",
        )

    # -- not locked yet --------------------------------------------------------------------------

    def behind(self, kind: str, what: str, event_type: str) -> Finding:
        """Something new that the lock does not know yet."""
        return Finding(
            kind=kind,
            what=what,
            do=f"lock it: {self.lock_command}",
            type=event_type,
            breaking=False,
        )

    def function_behind(self, place: Place, how: str) -> Finding:
        """A function that is new, or declares itself anew."""
        what, _ = self.function(*place)
        return self._of(
            place,
            "function not locked",
            f"{what} {how}",
            f"lock it: {self.lock_command}",
            breaking=False,
        )

    def _of(self, place: Place, kind: str, what: str, do: str, *, breaking: bool = True) -> Finding:
        event_type, table, schema = place
        return Finding(
            kind=kind,
            what=f"{event_type}: {what}" if event_type else what,
            do=do,
            type=event_type,
            table=table,
            schema=schema,
            breaking=breaking,
        )
