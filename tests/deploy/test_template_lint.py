"""cfn-lint has nothing to say against the template; and it would have, where something is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.deploy.roles import TEMPLATE

BROKEN = {
    "a property that there is not": (
        "BatchSize: !Ref BatchSize",
        "BatchSise: !Ref BatchSize",
        "E3002",
    ),
    "a name that nothing has": ("!GetAtt FunctionRole.Arn", "!GetAtt FunctionRoll.Arn", "E1010"),
    "a value that is none": ("StartingPosition: TRIM_HORIZON", "StartingPosition: OLDEST", "E3031"),
    "something required left out": ("      Protocol: email\n", "", "E3003"),
    "a parameter that nothing uses": ("!Ref SameMeaning", '"no"', "W2001"),
    "a table whose key is no attribute": (
        "AttributeName: sk, AttributeType",
        "AttributeName: sq, AttributeType",
        "E3039",
    ),
    "an output of nothing": ("Value: !Ref Alarms", "Value: !Ref Alarm", "E6101"),
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What the linter says of ours, and of one that is broken in every way at once: one run of it."""
    folder = tmp_path_factory.mktemp("templates")
    text = TEMPLATE.read_text(encoding="utf-8")
    (folder / "ours.yaml").write_text(text, encoding="utf-8")
    for old, new, _ in BROKEN.values():
        assert old in text
        text = text.replace(old, new)
    (folder / "broken.yaml").write_text(text, encoding="utf-8")
    command = [str(Path(sys.executable).parent / "cfn-lint"), "--format", "json", "--template"]
    done = subprocess.run(
        [*command, "ours.yaml", "broken.yaml"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in range(1, 32), done.stderr  # of the broken one
    found: dict[str, list[str]] = {"ours.yaml": [], "broken.yaml": []}
    for each in json.loads(done.stdout):
        found[each["Filename"]].append(f"{each['Rule']['Id']}: {each['Message']}")
    return found


def test_the_linter_has_nothing_to_say(said: dict[str, list[str]]) -> None:
    assert said["ours.yaml"] == []


@pytest.mark.parametrize("what", BROKEN)
def test_whatever_is_broken_is_found(said: dict[str, list[str]], what: str) -> None:
    rule = BROKEN[what][2]
    assert any(each.startswith(rule) for each in said["broken.yaml"]), said["broken.yaml"]
