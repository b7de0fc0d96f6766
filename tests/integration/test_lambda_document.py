"""What docs/lambda-consumer.md shows is done from top to bottom, on running stand-ins."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scripts.standins.server import Server
from tests.readme.documents import ROOT, follow

DOCUMENT = ROOT / "docs/lambda-consumer.md"


@pytest.mark.timeout(600)  # a dozen programs, one after the other
def test_the_lambda_page_can_be_followed_and_prints_what_it_says(
    kinesis_local: Server, ministack: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Files, commands and their output: nothing in it can go stale unnoticed."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", kinesis_local.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", ministack.url)
    text = follow(DOCUMENT, tmp_path)
    if os.environ.get("BINLOG_WRITE_DOCS"):
        DOCUMENT.write_text(text, encoding="utf-8")
    assert text == DOCUMENT.read_text(encoding="utf-8")
