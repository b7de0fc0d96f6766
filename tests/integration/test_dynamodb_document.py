"""What docs/dynamodb.md shows is done from top to bottom, on the running stand-in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scripts.standins.server import Server
from tests.integration import test_adopt_live, test_lambda_document
from tests.readme.documents import ROOT, follow
from tests.readme.test_documents import NEEDS_SERVICES

DOCUMENT = ROOT / "docs/dynamodb.md"


@pytest.mark.timeout(600)  # a dozen programs, one after the other
def test_the_document_can_be_followed_and_prints_what_it_says(
    ministack: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Files, commands and their output: nothing in it can go stale unnoticed."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", ministack.url)
    text = follow(DOCUMENT, tmp_path)
    if os.environ.get("BINLOG_WRITE_DOCS"):
        DOCUMENT.write_text(text, encoding="utf-8")
    assert text == DOCUMENT.read_text(encoding="utf-8")


def test_every_document_is_followed_somewhere() -> None:
    elsewhere = {test_adopt_live.DOCUMENT.name, test_lambda_document.DOCUMENT.name}
    assert {DOCUMENT.name, *elsewhere} == NEEDS_SERVICES
