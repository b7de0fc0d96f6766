"""What docs/aws.md shows is what the command prints, and it leaves no parameter out."""

from __future__ import annotations

import json
import re
import shlex

from binlog.aws.account import ACCOUNT_PARAMETERS
from binlog.aws.policies import ROLES
from tests.cli.running import ROOT, binlog

TEXT = (ROOT / "docs/aws.md").read_text(encoding="utf-8")


def test_the_policy_that_is_shown_is_the_one_that_is_printed() -> None:
    command = next(line for line in TEXT.splitlines() if line.startswith("    binlog policy"))
    _, *arguments = shlex.split(command)
    shown = re.search(r"```json\n(.*?)```", TEXT, re.DOTALL)
    assert shown is not None
    assert binlog(*arguments).out == shown[1]
    assert json.loads(shown[1])["Statement"]


def test_every_parameter_and_role_is_there() -> None:
    rows = set(re.findall(r"^\| `?(\w+)`? \|", TEXT, re.MULTILINE))
    assert rows >= ACCOUNT_PARAMETERS | set(ROLES)
