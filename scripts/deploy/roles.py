"""Writes the roles of `binlog.yaml`: what `binlog policy` prints, for the template's own names.

    python -m scripts.deploy.roles            the template with its roles written anew, in place
    python -m scripts.deploy.roles --check    1 where that would change it

The policies are made by the same function as the command's, for a place whose parts are
CloudFormation's names (``${AWS::Region}``), so that they hold in every account and cannot drift.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from appliers.stores.dynamodb_access import targets_of
from appliers.stores.dynamodb_tables_spec import Specification
from binlog.aws.policies import (
    Place,
    Role,
    Target,
    function_targets,
    lease_targets,
    objects_targets,
    policy_of,
    stream_target,
)

FOLDER = Path(__file__).parent
TEMPLATE = FOLDER / "binlog.yaml"
TABLES = FOLDER / "tables.toml"
BEGIN = "  # -- roles: written by scripts/deploy/roles.py, each what `binlog policy` prints "
END = "  # -- who is told, and of what "

_HERE = Place("${AWS::Partition}", "${AWS::Region}", "${AWS::AccountId}")
_THERE = Place("${AWS::Partition}", "${Region}", "${AWS::AccountId}")  # of the replica's store
_REGION = "!If [HasReplicaRegion, !Ref ReplicaRegion, !Ref AWS::Region]"
_PREFIXES = (
    "StorePrefix",
    "ReplicaPrefix",
)  # a store's prefix may hold no ${..} while it is checked
_KEY = "arn:StreamKeyArn"  # what begins so is one
_OF_KEYS = ("UseKeyOfStream", "SeeKeyOfStream")
_OF_FUNCTIONS = ("FunctionRole", "AuditRole")
_LINE = 110  # characters
_QUOTED = {"Null": '"Null"'}  # which YAML would take for nothing
_ARCHIVE, _SNAPSHOTS = "${Archive}/archive", "${Archive}/snapshots"  # in the template's own bucket


def policies() -> dict[str, tuple[str, dict[str, dict[str, Any]]]]:
    """Of each role what it is for, and its policies by name."""
    store = targets_of(Specification.load(str(TABLES), "StorePrefix"), _HERE)
    replica = targets_of(Specification.load(None, "ReplicaPrefix"), _THERE)
    stream = [stream_target(_HERE, "${StreamName}", _KEY)]

    def binlog(role: Role, targets: Sequence[Target]) -> dict[str, dict[str, Any]]:
        return {"binlog": policy_of(role, targets)}

    function = function_targets(_HERE, "${FunctionName}")
    audit = function_targets(_HERE, "${FunctionName}-audit")
    archive = objects_targets("archive", _HERE, _ARCHIVE)
    snapshots = objects_targets("snapshots", _HERE, _SNAPSHOTS)
    return {
        "FunctionRole": ("The function", binlog("lambda", [*stream, *store, *function, *archive])),
        "ProducerRole": ("Appends to the log", binlog("producer", stream)),
        "ReplicaRole": (
            "A worker of the KCL",
            binlog("applier", [*stream, *replica, *archive]) | {"kcl": kcl_policy()},
        ),
        "OperatorRole": (
            "Makes the log, looks, rebuilds, resolves",
            binlog("operator", [*stream, *store, *archive, *snapshots]),
        ),
        "ArchiverRole": ("Archives the log", binlog("archive", [*stream, *archive])),
        "AuditRole": ("The audit", binlog("audit", [*store, *audit, *archive])),
    }


def kcl_policy() -> dict[str, Any]:
    """Of the KCL itself: its tables, and its metrics."""
    return policy_of("kcl", lease_targets(_HERE, "${ReplicaApplication}"))


# -- YAML ------------------------------------------------------------------------------------------


def written(template: str) -> str:
    """The template with its roles as they are to be.

    Raises:
        ValueError: it has no place for them.
    """
    head, begun, rest = template.partition(BEGIN)
    _, ended, tail = rest.partition(END)
    if not begun or not ended:
        raise ValueError(f"not there: {BEGIN.strip()!r}, or {END.strip()!r} after it")
    line = rest.partition("\n")[0]
    return f"{head}{BEGIN}{line}\n\n{''.join(_sections())}{END}{tail}"


def _sections() -> Iterator[str]:
    for name, (purpose, held) in policies().items():
        yield f"  {name}:\n    Type: AWS::IAM::Role\n    Properties:\n"
        yield f'      Description: "binlog: {purpose}"\n'
        yield from _trust(by_service=name in _OF_FUNCTIONS)
        yield "      Policies:\n"
        for policy, content in held.items():
            yield f"        - PolicyName: {policy}\n          PolicyDocument:\n"
            yield f'            Version: "{content["Version"]}"\n            Statement:\n'
            for each in content["Statement"]:
                yield from _statement(each)
        yield "\n"


def _trust(*, by_service: bool) -> Iterator[str]:
    root = "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"
    principal = (
        "Service: lambda.amazonaws.com"
        if by_service
        else f'AWS: !If [HasTrustedPrincipal, !Ref TrustedPrincipal, !Sub "{root}"]'
    )
    yield '      AssumeRolePolicyDocument:\n        Version: "2012-10-17"\n        Statement:\n'
    yield f"          - Effect: Allow\n            Principal: {{ {principal} }}\n"
    yield "            Action: sts:AssumeRole\n"


def _statement(each: Mapping[str, Any]) -> Iterator[str]:
    indent, begin = "                ", "              - "
    if each["Sid"] in _OF_KEYS:
        yield f"{begin}Fn::If:\n{indent}  - HasStreamKey\n"
        indent, begin = indent + "    ", indent + "  - "
    yield f"{begin}Sid: {each['Sid']}\n{indent}Effect: {each['Effect']}\n"
    inline = f"{indent}Action: [{', '.join(each['Action'])}]\n"
    if len(inline) <= _LINE:
        yield inline
    else:
        yield f"{indent}Action:\n"
        for action in each["Action"]:
            yield f"{indent}  - {action}\n"
    yield from _resources(each["Resource"], indent)
    if "Condition" in each:
        yield f"{indent}Condition:\n"
        for operator, values in each["Condition"].items():
            name = _QUOTED.get(operator, operator)
            if len(values) == 1:  # a template may have 51,200 bytes
                [(key, value)] = values.items()
                yield f'{indent}  {name}: {{ "{key}": {_text(value)} }}\n'
                continue
            yield f"{indent}  {name}:\n"
            for key, value in values.items():
                yield f"{indent}    {key}: {_text(value)}\n"
    if each["Sid"] in _OF_KEYS:
        yield "                  - !Ref AWS::NoValue\n"


def _resources(named: str | list[str], indent: str) -> Iterator[str]:
    if isinstance(named, str):
        yield f"{indent}Resource: {_text(named)}\n"
        return
    yield f"{indent}Resource:\n"
    for name in named:
        yield f"{indent}  - {_text(name)}\n"


def _text(value: str) -> str:
    """A YAML value in which CloudFormation fills in its names."""
    value = value.replace(".amazonaws.com", ".${AWS::URLSuffix}")  # China has another
    for name in _PREFIXES:
        value = value.replace(f":table/{name}.", f":table/${{{name}}}.")
    if "${Region}" in value:
        return f'!Sub ["{value}", {{ Region: {_REGION} }}]'
    if value == _KEY:
        return "!Ref StreamKeyArn"
    return f'!Sub "{value}"' if "${" in value else f'"{value}"'


def main(arguments: Sequence[str]) -> int:
    """The command; the exit status."""
    if list(arguments) not in ([], ["--check"]):
        print("roles: [--check]", file=sys.stderr)
        return 2
    text = TEMPLATE.read_text(encoding="utf-8")
    wanted = written(text)
    if arguments:
        return int(wanted != text)
    TEMPLATE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
