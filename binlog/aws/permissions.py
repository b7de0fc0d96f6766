"""Which actions these credentials may call, found without changing anything.

Three ways, the surest first: a harmless call (a read, a write whose condition never holds) succeeds
or is denied; IAM's policy simulator says what the principal's policies come to, where one may ask
it; and what is left cannot be known beforehand. The simulator knows nothing of a VPC endpoint's
policy, nor of a key's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from binlog.aws.account import Account, connector
from binlog.aws.errors import trouble
from binlog.aws.identity import ATTEMPTS, READ_TIMEOUT_S, Identity
from binlog.aws.policies import (
    GRANTS,
    ONLY_NEW,
    Role,
    Target,
    document,
    key_statements,
    statement,
)
from binlog.errors import BinlogError

Probe = Callable[[], object]
"""A harmless call; what it raises is the SDK's."""

SIMULATE = "iam:SimulatePrincipalPolicy"
_ACTIONS_A_CALL = 50


class Permission(msgspec.Struct, frozen=True):
    """One action on a target's resources."""

    action: str
    state: Literal["allowed", "denied", "unknown"]
    why: str = ""


def needed(role: Role, target: Target) -> list[str]:
    """The actions of a role on a target, with those on its key, sorted."""
    granted = [each for each in GRANTS[role] if each.on == target.on]
    actions = {action for each in granted for action in each.actions}
    if target.own_keys:
        actions |= {action for each in granted for action in each.by_service}
    return sorted(actions)


def probe(probes: Mapping[str, Probe]) -> dict[str, Permission]:
    """What harmless calls say, made in their order; a denial may name another action than its own.

    An answer of any other kind comes from behind the door: the call was permitted.
    """
    found: dict[str, Permission] = {}
    for action, call in probes.items():
        try:
            call()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is translated
            said = trouble(error, "")
            for permission in _of_error(action, said):
                found.setdefault(permission.action, permission)
        else:
            found[action] = Permission(action, "allowed")
    return found


def _of_error(action: str, error: BinlogError) -> Iterable[Permission]:
    denied = error.details.get("action")
    if denied is not None:
        named = str(denied) if ":" in str(denied) else action
        yield Permission(named, "denied", error.what)
        if named != action:
            yield Permission(action, "unknown", error.what)
    elif error.retriable or "not permitted" in error.what or not error.details.get("code"):
        yield Permission(action, "unknown", error.what)
    else:
        yield Permission(action, "allowed")


def simulate(
    account: Account, identity: Identity, actions: Sequence[str], target: Target, where: str
) -> dict[str, Permission]:
    """What IAM's simulator says of actions on a target.

    Raises:
        BinlogError: it may not be asked, or does not know the principal.
    """
    plain = msgspec.structs.replace(account, endpoint=None, fips=False)
    client = connector(
        plain, "iam", where, total_max_attempts=ATTEMPTS, read_timeout_s=READ_TIMEOUT_S
    )()
    found: dict[str, Permission] = {}
    try:
        for begin in range(0, len(actions), _ACTIONS_A_CALL):
            found |= _simulated(client, identity, actions[begin:][:_ACTIONS_A_CALL], target)
    except Exception as error:
        raise trouble(error, where) from error
    finally:
        client.close()
    return found


def _simulated(
    client: Any, identity: Identity, actions: Sequence[str], target: Target
) -> dict[str, Permission]:
    reply = client.simulate_principal_policy(
        PolicySourceArn=identity.principal,
        ActionNames=list(actions),
        ResourceArns=list(target.resources),
        MaxItems=1_000,
    )
    found = {}
    for each in reply["EvaluationResults"]:
        action, decision = each["EvalActionName"], each["EvalDecision"]
        why = f"IAM's simulator says {decision}"
        if decision == "allowed":
            found[action] = Permission(action, "allowed", why)
        elif each.get("MissingContextValues"):
            missing = ", ".join(each["MissingContextValues"])
            found[action] = Permission(action, "unknown", f"it depends on {missing}")
        else:
            found[action] = Permission(action, "denied", why)
    return found


def examine(
    role: Role,
    target: Target,
    probes: Mapping[str, Probe],
    *,
    account: Account,
    identity: Identity | None,
    where: str,
) -> list[Permission]:
    """Of each action that the role needs on the target what can be known."""
    actions = needed(role, target)
    found = probe({action: call for action, call in probes.items() if action in actions})
    rest = [
        action
        for action in actions
        if not action.startswith("kms:")
        and (action not in found or found[action].state == "unknown")
    ]
    why = "a call that changes nothing does not tell"
    if rest and identity is not None:
        try:
            found |= simulate(account, identity, rest, target, where)
        except BinlogError as error:
            if error.details.get("action") != SIMULATE:
                why = error.what
    return [found.get(action, Permission(action, "unknown", why)) for action in actions]


def missing(target: Target, permissions: Iterable[Permission]) -> dict[str, Any] | None:
    """The policy document that grants what was denied; ``None`` if nothing was."""
    denied = [each.action for each in permissions if each.state == "denied"]
    if not denied:
        return None
    statements = []
    own = [action for action in denied if not action.startswith("kms:")]
    name = "Missing" + "".join(word.capitalize() for word in target.on.split("_"))
    if target.on == "archive" and "s3:PutObject" in own:  # not more than the role has of it
        own.remove("s3:PutObject")
        writing = statement(f"{name}Writes", ["s3:PutObject"], target.resources, **ONLY_NEW)
        statements.append(writing)
    if own:
        statements.append(statement(name, own, target.resources))
    statements += key_statements(set(denied) - set(own), target)
    return document(statements)
