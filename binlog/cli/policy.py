"""``binlog policy``: the IAM policy that a role needs on a log, and on a store."""

from __future__ import annotations

import json

import click

from binlog.address import Address, parse_address
from binlog.aws.identity import place_of
from binlog.aws.policies import (
    ROLES,
    Resource,
    Role,
    Target,
    function_targets,
    lease_targets,
    policy_of,
    polled_target,
    stream_target,
)
from binlog.cli.output import json_option, note, write_json, write_text
from binlog.cli.policy_objects import (
    OF_OBJECTS,
    Places,
    object_options,
    sorted_out,
    targets_of_places,
)
from binlog.cli.verb import Verb
from binlog.errors import BinlogError, RefusedError

_NONE = "none"


@click.command(
    cls=Verb,
    role=None,
    examples="""
    binlog policy producer kinesis://orders
    binlog policy applier kinesis://orders dynamodb://live
    binlog policy reader kinesis://orders?region=eu-west-1 --account 123456789012 --log-key none
    binlog policy relay kinesis://clicks kinesis://orders
    binlog policy lambda kinesis://orders dynamodb://live --function orders-applier
    binlog policy kcl kinesis://orders dynamodb://replica --leases dynamodb://replica-leases
    binlog policy archive kinesis://orders s3://kept/orders
    binlog policy audit s3://kept/orders dynamodb://live
    binlog policy snapshot dynamodb://live s3://kept/snapshots
    binlog policy operator kinesis://orders dynamodb://live --archive s3://kept/orders
    binlog policy producer kinesis://orders > p.json && aws iam put-role-policy --role-name shop \\
      --policy-name binlog --policy-document file://p.json
    """,
)
@click.argument("role", type=click.Choice(ROLES))
@click.argument("log", metavar="[INBOX] LOG")
@click.argument("other", metavar="[STORE|ARCHIVE]", required=False)
@click.option(
    "--account",
    "account_id",
    metavar="ID",
    help="The account that they are in, 12 digits; else the role's in the address, or the one"
    " whose credentials these are.",
)
@click.option(
    "--log-key",
    metavar="KEY",
    help="The KMS key that encrypts LOG: an ARN, an id, alias/NAME, or none; else LOG is asked.",
)
@click.option("--inbox-key", metavar="KEY", help="The same of a relay's INBOX.")
@click.option(
    "--store-key",
    metavar="KEY",
    help="The same of STORE's tables; else what the tables file says.",
)
@click.option(
    "--function",
    metavar="NAME",
    help="The Lambda function whose role it is; else its log group may be any function's.",
)
@click.option(
    "--leases",
    metavar="URL",
    help="The KCL's application, as binlog kcl run has it; else the name that it makes itself. Of an"
    " archive only if a worker of the KCL writes it.",
)
@object_options
@json_option
def command(
    *,
    role: Role,
    log: str,
    other: str | None,
    account_id: str | None,
    log_key: str | None,
    inbox_key: str | None,
    store_key: str | None,
    function: str | None,
    leases: str | None,
    archive: str | None,
    snapshots: str | None,
    data_sets: str | None,
    bucket_key: str | None,
    as_json: bool,
) -> None:
    """Print the IAM policy with which ROLE can do its work on LOG and STORE, and nothing more.

    A producer appends (and reads, to resolve what became of an append that was not answered). A
    reader reads the log; with STORE that, too. A relay reads INBOX and appends to LOG; without
    INBOX it relays the log's own foreign records. An applier carries STORE forward; a lambda is one
    that is a function, a kcl one that is a worker of the KCL. An archive adds to ARCHIVE what is in
    LOG, and can replace nothing; an audit reads ARCHIVE and STORE's checkpoints; a snapshot reads STORE
    and keeps snapshots. An operator may do all of that but relay from elsewhere, and makes and rebuilds
    logs and tables. With --account, and keys, nothing is called.

    Whoever may append can write any event: an application's permissions are not the log's.
    """
    application = _leases(role, log, leases)
    places = Places(archive, snapshots, data_sets, bucket_key)
    if function is not None and role not in {"lambda", "archive", "audit"}:
        raise RefusedError(f"--function, and the role is {role}", log, "leave it out")
    if inbox_key is not None and (role != "relay" or other is None):
        raise RefusedError("--inbox-key, and there is no INBOX", log, "leave it out")
    if role in OF_OBJECTS:
        found_log, store, places = sorted_out(role, log, other, places)
        targets = [] if found_log is None else _log(found_log, account_id, log_key)
        targets += [] if store is None else _store(store, account_id, store_key)
        if function is not None:
            targets += _function(targets, function, account_id, places)
        if application is not None:
            targets += kcl_targets(log, "", application, account_id)
    elif role == "relay":
        store = None
        inbox, into = parse_address(log), parse_address(log if other is None else other)
        targets = log_targets(into, account_id, log_key)
        if (inbox.scheme, inbox.path, inbox.account) != (into.scheme, into.path, into.account):
            targets += log_targets(inbox, account_id, inbox_key, on="inbox")
    else:
        store = other
        _check_store(role, log, other)
        targets = _log(log, account_id, log_key)
        if other is not None:
            targets += _store(other, account_id, store_key)
        if role == "lambda":
            targets += [
                t for each in targets[:1] for t in function_targets(each.place, function or "*")
            ]
        if role == "kcl":
            targets += kcl_targets(log, other or "", application, account_id)
    kept = None if store is None else parse_address(store)
    targets += targets_of_places(role, places, account_id, kept)
    if not any(target.resources for target in targets):
        raise RefusedError(
            "nothing here is a service's",
            log,
            "write kinesis://STREAM or s3://BUCKET; files have permissions",
        )
    found = policy_of(role, targets)
    if as_json:
        write_json(found)
    else:
        write_text(*json.dumps(found, indent=2).splitlines())


def _log(url: str, account_id: str | None, key: str | None) -> list[Target]:
    return log_targets(parse_address(url), account_id, key)


def _store(url: str, account_id: str | None, key: str | None) -> list[Target]:
    return store_targets(parse_address(url), account_id, key)


def _function(
    targets: list[Target], name: str, account_id: str | None, places: Places
) -> list[Target]:
    """What an archiver, or an audit, needs that is a function: its log, and a mapping that polls."""
    if targets:
        place = targets[0].place
    else:
        address = parse_address(places.archive or "")
        place = place_of(address.account, "s3", str(address), account_id=account_id)
    polled = [polled_target(each) for each in targets if each.on == "stream"]
    return [*polled, *function_targets(place, name)]


def _check_store(role: Role, log: str, store: str | None) -> None:
    if role == "producer" and store is not None:
        raise RefusedError("a producer needs no store", store, "leave it out")
    if role in {"applier", "lambda", "kcl"} and store is None:
        what = {"applier": "an applier", "kcl": "a worker of the KCL"}.get(role, "a lambda")
        raise RefusedError(f"{what} needs a store", log, f"binlog policy {role} LOG STORE")
    if role in {"lambda", "kcl"} and not log.lower().startswith("kinesis:"):
        what = "a lambda" if role == "lambda" else "the KCL"
        raise RefusedError(f"{what} has a stream's records", log, "write kinesis://STREAM")
    if role == "kcl" and not (store or "").lower().startswith("dynamodb:"):
        raise RefusedError("workers of the KCL share a store", store or "", "dynamodb://PREFIX")


def kcl_targets(
    log: str, store: str, leases: Address | None, account_id: str | None
) -> list[Target]:
    """What the KCL keeps for itself, where `binlog kcl run` would have it."""
    from consumers.kcl_plan import default_application
    from consumers.kcl_settings import Settings

    address = parse_address(log) if leases is None else leases
    named = default_application(Settings(log=log, store=store)) if leases is None else leases.path
    place = place_of(address.account, "dynamodb", str(address), account_id=account_id)
    return lease_targets(place, named)


def _leases(role: Role, log: str, url: str | None) -> Address | None:
    """What ``--leases`` names."""
    if url is None:
        return None
    if role not in {"kcl", "archive"}:
        raise RefusedError(f"--leases, and the role is {role}", log, "leave it out")
    from consumers.kcl_plan import parse_leases

    return parse_leases(url)


def log_targets(
    address: Address, account_id: str | None, key: str | None, *, on: Resource = "stream"
) -> list[Target]:
    """What of a log, or an inbox, IAM decides on: nothing of a directory."""
    if address.scheme == "dynamodb":
        raise RefusedError(f"{address} is no log", do="write kinesis://STREAM, and it second")
    if address.scheme != "kinesis":
        return []
    place = place_of(address.account, "kinesis", str(address), account_id=account_id)
    return [stream_target(place, address.path, _stream_key(address, key, on), on=on)]


def store_targets(address: Address, account_id: str | None, key: str | None) -> list[Target]:
    """What of a store IAM decides on: nothing of a file."""
    if address.scheme != "dynamodb":
        return []
    from appliers.stores.dynamodb_access import targets_of
    from appliers.stores.dynamodb_tables_spec import Specification

    specification = Specification.load(address.tables, address.path)
    place = place_of(address.account, "dynamodb", str(address), account_id=account_id)
    keys = None if key is None else [] if key == _NONE else [key]
    return targets_of(specification, place, keys)


def _stream_key(address: Address, key: str | None, on: Resource) -> str | None:
    """The key that was said, or else that the stream says it has."""
    from binlog.logs.kinesis import kinesis_service

    if key is not None:
        return None if key == _NONE else key
    service = kinesis_service(address.path, account=address.account)
    try:
        return service.describe().kms_key
    except BinlogError as error:
        option = "--inbox-key" if on == "inbox" else "--log-key"
        note(f"binlog: {error.what}: {address}: if a key of yours encrypts it, give {option}")
        return None
    finally:
        service.clients.close()
