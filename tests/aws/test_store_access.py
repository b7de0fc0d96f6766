"""A store whose writer may do less than its operator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from tests.contracts.dynamodb_places import store_on
from tests.contracts.store_contract import GENESIS, checkpoint, content, key, row
from tests.stores.dynamodb_double import DynamoDBDouble


def may_not(request: Mapping[str, Any]) -> None:
    action = "dynamodb:DeleteTable"
    said = f"User: u is not authorized to perform: {action} on resource: {request['TableName']}"
    error = {"Error": {"Code": "AccessDeniedException", "Message": said}}
    raise ClientError(error | {"ResponseMetadata": {"HTTPStatusCode": 400}}, "DeleteTable")


def test_who_may_not_delete_tables_goes_on_and_leaves_them_to_who_may() -> None:
    """Else an operator's rebuild that died before it was done would stop every applier."""
    double = DynamoDBDouble()
    store = store_on(double)
    store.bind(GENESIS)
    for version in (1, 2):
        build = store.build(tables=None, fingerprint="f", excluded=())
        build.load("orders", [(key("a"), row("a", version))])
        double.hooks["delete_table"] = may_not
        build.finish({1: checkpoint(1, version, offset=version)}, tables=[])
    store.close()
    names = set(double.tables)
    applier = store_on(double)
    [generation] = applier.generations()
    moved = checkpoint(1, 3, offset=3)
    assert applier.commit(generation.id, [], [moved]) == []
    assert content(applier) == {key("a"): row("a", 2)}
    applier.close()
    assert set(double.tables) == names
    del double.hooks["delete_table"]
    operator = store_on(double)
    operator.commit(generation.id, [], [checkpoint(1, 4, offset=4)])
    operator.close()
    assert len(names - set(double.tables)) == 1
