"""Folding an event that waited onto its item, without the events around it."""

from __future__ import annotations

from appliers.fold import Fold
from appliers.letters import DeadLetter, run_of
from appliers.poison import newer
from appliers.routing import Op
from appliers.transforming import Transformed
from appliers.user_rules import keys_of
from binlog.errors import PoisonError


def fold_letter(fold: Fold, letter: DeadLetter) -> bool:
    """Fold a letter onto its item, which was preloaded; whether its event is routed there.

    Raises:
        PoisonError: it cannot be told where it is routed, or it parks no item (`appliers.poison`).
        UpgradeError, DamageError: as `Fold.add` and `run_of`.
    """
    run = fold.routing.transformed(run_of(letter))
    plan = fold.routing.plan(run.columns.kinds)
    op, named = plan.ops[0], plan.tables[0]
    if type(run) is Transformed and run.failures:
        fold.refuse(run, 0, letter.table, letter.version, run.failures[0])
        return True
    if op <= Op.UPDATE:
        if (named, run.columns.keys[0]) != (letter.table, letter.key):
            return False
        fold.act_on(run, 0, op, letter.table, letter.version)
        return True
    if op is Op.NEWER:
        raise newer(run, 0)
    for rule in plan.rules[0]:
        if (rule.table or named) == letter.table and letter.key in keys_of(
            fold.routing, run, 0, rule
        ):
            try:
                fold.apply_to(run, 0, rule, letter.table, letter.key, letter.version)
            except PoisonError as error:
                fold.divert(run, 0, letter.version, letter.table, letter.key, error)
            return True
    return False
