"""What a run ended in: which failures are the same, and how one is told that is no violation yet."""

from __future__ import annotations

from collections.abc import Sequence

from binlog.testing.violation import Violation
from binlog.testing.words import imports_of_code


def same_finding(error: Exception | None, other: Exception | None) -> bool:
    """Whether both are of one kind, and of one law.

    Else one failure becomes another one while steps are left out, and the first is never told.
    """
    return type(error) is type(other) and getattr(error, "law", "") == getattr(other, "law", "")


def as_violation(error: Exception) -> Violation:
    """What was raised, as the finding that it is."""
    if isinstance(error, Violation):
        return error.with_traceback(None)
    said = f"{type(error).__name__}: {error}".rstrip(": ")
    violation = Violation(f"the world fell over: {said}", law="nothing else is raised")
    violation.__cause__ = error
    return violation


def as_test(name: str, new_world: str, code: Sequence[str], *, imports: Sequence[str] = ()) -> str:
    """Source of a test that makes it happen again; ``new_world`` is the expression to begin with.

    What is imported is so inside of the test, which can be pasted anywhere.
    """
    needed = sorted({*imports, *imports_of_code("\n".join(code))})
    lines = [*needed, *([""] if needed else []), f"world = {new_world}", *code]
    return "\n".join([f"def test_{name}():", *(f"    {line}".rstrip() for line in lines)])
