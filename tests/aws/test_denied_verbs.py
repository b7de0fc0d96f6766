"""Who is denied something is told the policy of the role of what they did, on what they typed."""

from __future__ import annotations

import pytest

from binlog.logs.kinesis_genesis import tags_of
from binlog.params import Params, encode_genesis
from tests.aws.aws_double import ACCOUNT_ID, Refusal, Wire
from tests.aws.test_policies import SUMMARY
from tests.cli.running import append, binlog

LOG = "kinesis://orders?region=eu-west-1"
STREAM = f"arn:aws:kinesis:eu-west-1:{ACCOUNT_ID}:stream/orders"


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["append", LOG], f"producer '{LOG}'"),
        (["cat", "kinesis://orders"], "reader kinesis://orders"),
        (["status", LOG, "dynamodb://live"], f"reader '{LOG}' dynamodb://live"),
        (["replicate", LOG, "dynamodb://live", "--once"], f"applier '{LOG}' dynamodb://live"),
        (["replicate", LOG, "sqlite:x.db", "--once"], f"reader '{LOG}'"),
        (["rebuild", LOG, "dynamodb://live"], f"operator '{LOG}' dynamodb://live"),
        (["rebuild", LOG, "memory:"], f"reader '{LOG}'"),
        (["resolve", LOG, "0", "s:1", "skip"], f"operator '{LOG}'"),
        (["init", LOG, "--partitions=2"], f"operator '{LOG}'"),
        (["relay", LOG, "kinesis://orders"], f"relay '{LOG}' kinesis://orders"),
    ],
)
def test_a_verb_names_the_policy_of_its_role(wire: Wire, arguments: list[str], advice: str) -> None:
    """Whoever is given more than that holds a permission too many, and less fails at the next call."""
    wire.deny("kinesis:DescribeStreamSummary", STREAM)
    ran = binlog(*arguments)
    assert ran.status == 2, ran.err
    assert "not permitted: kinesis:DescribeStreamSummary" in ran.err
    assert ran.err.endswith(f": binlog policy {advice} prints what grants it\n")
    granted = ran.err.partition(": binlog policy ")[2].partition(" prints")[0]
    words = [word.strip("'") for word in granted.split()]
    keys = ("--log-key=none", "--account=123456789012")
    assert binlog("policy", *words, *keys).status == 0, "the advice can be pasted"


def test_a_role_that_lacks_the_action_is_not_advised(wire: Wire) -> None:
    """A stream that is not there is made by init only; an odd denial has a role that helps."""
    wire.answers["kinesis.DescribeStreamSummary"] = Refusal("ResourceNotFoundException", "gone")
    wire.deny("kinesis:CreateStream", STREAM)
    ran = binlog("init", LOG, "--partitions=2", "--shards=1")
    assert f"binlog policy operator '{LOG}' prints" in ran.err
    wire.answers["kinesis.DescribeStreamSummary"] = {"StreamDescriptionSummary": SUMMARY}
    wire.deny("kinesis:ListTagsForStream", STREAM, because="with an explicit deny in a policy")
    ran = binlog("cat", LOG)
    assert ran.status == 2
    assert "no grant helps against a deny" in ran.err
    assert "binlog policy" not in ran.err


def test_a_put_that_is_denied_is_refused_like_any_other_call(wire: Wire) -> None:
    """Status 2, the policy of a producer, and the line's own document says the same."""
    params = Params(log_id="1" * 32, partitions=2, frame_bytes_max=1_000_000)
    tags = tags_of(encode_genesis(params), params)
    wire.answers |= {
        "kinesis.DescribeStreamSummary": {"StreamDescriptionSummary": SUMMARY},
        "kinesis.ListTagsForStream": {
            "Tags": [{"Key": name, "Value": value} for name, value in tags.items()],
            "HasMoreTags": False,
        },
    }
    wire.deny("kinesis:PutRecords", STREAM)
    ran = append(LOG, {"id": "a"})
    assert ran.status == 2, ran
    advice = f"binlog policy producer '{LOG}' prints what grants it"
    assert "an event not written, not permitted: kinesis:PutRecords" in ran.err
    assert f"{advice}; then append what is not acknowledged again" in ran.err
    [document] = ran.lines
    assert document["outcome"] == "failed"
    assert document["error"].endswith(advice)
