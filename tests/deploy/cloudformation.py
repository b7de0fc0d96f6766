"""What CloudFormation makes of a template and its parameters: conditions decided, names filled in.

The functions that `scripts/deploy/binlog.yaml` uses, and no others: an unknown one is an error. What
only exists once it is made has a name here that tells what it is: ``Stream.Arn`` is ``<Stream.Arn>``; of a
role it is an ARN that looks like one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

_NAME = re.compile(r"\$\{([^!}]+)\}")
_DROPPED = object()
ACCOUNT_ID = "123456789012"


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types here
    """YAML with CloudFormation's short forms: ``!Sub x`` is ``{"Fn::Sub": x}``."""


def _short_form(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
        if suffix == "GetAtt":
            value = value.split(".")
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _short_form)


def load(path: Path) -> dict[str, Any]:
    """A template, short forms as long ones."""
    found: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    return found


class Stack:
    """A template with its parameters: what is to be made.

    Raises:
        ValueError: a parameter that it has not, or a value that it refuses; one that is missing.
    """

    def __init__(
        self,
        template: Mapping[str, Any],
        parameters: Mapping[str, str],
        *,
        region: str = "eu-west-1",
        partition: str = "aws",
        suffix: str = "amazonaws.com",
    ) -> None:
        self._template = template
        self._values: dict[str, Any] = {
            "AWS::Region": region,
            "AWS::Partition": partition,
            "AWS::AccountId": ACCOUNT_ID,
            "AWS::URLSuffix": suffix,
            "AWS::NoValue": _DROPPED,
        } | _accepted(template["Parameters"], parameters)
        self.resources: dict[str, dict[str, Any]] = {
            name: self._of(resource)
            for name, resource in template["Resources"].items()
            if "Condition" not in resource or self._decide(resource["Condition"])
        }
        self.outputs = {
            name: self._of(output["Value"]) for name, output in template["Outputs"].items()
        }

    def properties(self, name: str) -> dict[str, Any]:
        """Of a resource."""
        found: dict[str, Any] = self.resources[name]["Properties"]
        return found

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """The properties of all resources of a type."""
        return {
            name: resource["Properties"]
            for name, resource in self.resources.items()
            if resource["Type"] == kind
        }

    def _decide(self, condition: str) -> bool:
        return bool(self._of(self._template["Conditions"][condition]))

    def _of(self, value: Any) -> Any:
        match value:
            case {"Ref": str(name), **rest} if not rest:
                return self._name(name)
            case {"Fn::GetAtt": [str(name), str(attribute)]}:
                return self._attribute(name, attribute)
            case {"Fn::Sub": [str(text), dict(more)]}:
                return self._sub(text, {name: self._of(each) for name, each in more.items()})
            case {"Fn::Sub": str(text)}:
                return self._sub(text, {})
            case {"Fn::If": [str(condition), then, otherwise]}:
                return self._of(then if self._decide(condition) else otherwise)
            case {"Fn::Equals": [one, other]}:
                return str(self._of(one)) == str(self._of(other))
            case {"Fn::Not": [one]}:
                return not self._of(one)
            case dict():
                if found := [name for name in value if str(name).startswith("Fn::")]:
                    raise ValueError(f"{found}: not known here")
                pairs = {name: self._of(each) for name, each in value.items()}
                return {name: each for name, each in pairs.items() if each is not _DROPPED}
            case list():
                return [each for item in value if (each := self._of(item)) is not _DROPPED]
            case _:
                return value

    def _name(self, name: str) -> Any:
        if name in self._values:
            return self._values[name]
        resource = self._template["Resources"][name]
        named = {
            "AWS::Kinesis::Stream": "Name",
            "AWS::Lambda::Function": "FunctionName",
            "AWS::DynamoDB::Table": "TableName",
        }
        if resource["Type"] in named:
            return self._of(resource["Properties"][named[resource["Type"]]])
        return f"<{name}>"

    def _attribute(self, name: str, attribute: str) -> str:
        if self._template["Resources"][name]["Type"] == "AWS::IAM::Role" and attribute == "Arn":
            return f"arn:{self._values['AWS::Partition']}:iam::{ACCOUNT_ID}:role/{name}"
        return f"<{name}.{attribute}>"

    def _sub(self, text: str, more: Mapping[str, str]) -> str:
        def fill(found: re.Match[str]) -> str:
            name = found[1]
            if name in more:
                return str(more[name])
            return self._attribute(*name.split(".")) if "." in name else str(self._name(name))

        return _NAME.sub(fill, text)


def _accepted(declared: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, int | str]:
    if unknown := given.keys() - declared.keys():
        raise ValueError(f"no such parameters: {sorted(unknown)}")
    values: dict[str, int | str] = {}
    for name, each in declared.items():
        value = given.get(name, each.get("Default"))
        if value is None:
            raise ValueError(f"{name} is missing")
        text = str(value)
        allowed = [str(one) for one in each.get("AllowedValues", [text])]
        fits = text in allowed and re.fullmatch(each.get("AllowedPattern", ".*"), text)
        if each["Type"] == "Number":
            fits = fits and each.get("MinValue", 0) <= int(text) <= each.get("MaxValue", 10**9)
        if not fits:
            raise ValueError(f"{name}={text!r} is refused")
        values[name] = int(text) if each["Type"] == "Number" else text
    return values
