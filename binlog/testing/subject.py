"""What is put to the proof: appliers as the user has them at hand."""

from __future__ import annotations

from typing import TypeAlias

from appliers.applier import Appliers, Rules
from appliers.loading import load_rules
from binlog.errors import RefusedError

Source: TypeAlias = Appliers | Rules | str


def rules_of(source: Source) -> Rules:
    """The rules of an `Appliers`, of rules that are built, or of ``"module:object"``.

    Raises:
        RefusedError: none of these, or appliers that cannot be built.
    """
    if isinstance(source, Appliers):
        return source.build()
    if isinstance(source, Rules):
        return source
    if isinstance(source, str):
        return load_rules(source)
    raise RefusedError(
        f"a {type(source).__name__} is no set of appliers",
        do="give the Appliers, or its name as module:object",
    )
