"""What ``binlog policy`` grants on buckets: of archives, snapshots, and data sets to import."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, TypeVar

import click

from binlog.address import Address, parse_address
from binlog.aws.grants import GRANTS, Role
from binlog.aws.identity import place_of
from binlog.aws.policies import Target, import_targets, objects_targets
from binlog.errors import RefusedError

_F = TypeVar("_F", bound=Callable[..., Any])
Kind = Literal["archive", "snapshots", "data_sets"]
OF_OBJECTS: dict[Role, Kind] = {"archive": "archive", "audit": "archive", "snapshot": "snapshots"}
"""The roles whose second address is a bucket's, and of what."""


class Places(NamedTuple):
    """Addresses of objects, as they were typed."""

    archive: str | None = None
    snapshots: str | None = None
    data_sets: str | None = None
    key: str | None = None


def object_options(function: _F) -> _F:
    """``--archive``, ``--snapshots``, ``--import``, ``--bucket-key``."""
    archive = click.option(
        "--archive", metavar="URL", help="The archive that ROLE reads, or adds to."
    )
    snapshots = click.option(
        "--snapshots", metavar="URL", help="The snapshots that ROLE reads, or keeps."
    )
    imported = click.option(
        "--import",
        "data_sets",
        metavar="URL",
        help="Where an operator's binlog rebuild --import keeps what STORE's tables are imported from.",
    )
    key = click.option(
        "--bucket-key",
        metavar="KEY",
        help="The KMS key that encrypts the buckets: an ARN, an id, alias/NAME, or none (the default).",
    )
    return archive(snapshots(imported(key(function))))


def sorted_out(
    role: Role, first: str, second: str | None, places: Places
) -> tuple[str | None, str | None, Places]:
    """Log, store and places, of two addresses in any order; of the roles of `OF_OBJECTS`.

    Raises:
        RefusedError: two of a kind, or none of the kind that the role is for.
    """
    kind = OF_OBJECTS[role]
    log: str | None = None
    store: str | None = None
    objects = getattr(places, kind)
    for url in filter(None, (first, second)):
        scheme = parse_address(url).scheme
        if scheme in {"s3", "file"} and objects is None and (scheme == "s3" or url != first):
            objects = url
        elif scheme in {"kinesis", "file"} and log is None and role != "snapshot":
            log = url
        elif scheme in {"dynamodb", "sqlite"} and store is None and role != "archive":
            store = url
        else:
            raise RefusedError(f"{url}: of what is it, for the role {role}?", "", _form(role))
    if objects is None or (role == "snapshot" and store is None):
        raise RefusedError(f"the role {role} is on a bucket", first, _form(role))
    return log, store, places._replace(**{kind: objects})


def _form(role: Role) -> str:
    return {
        "archive": "binlog policy archive LOG s3://BUCKET/PREFIX",
        "audit": "binlog policy audit s3://BUCKET/PREFIX STORE",
        "snapshot": "binlog policy snapshot STORE s3://BUCKET/PREFIX",
    }[role]


def targets_of_places(
    role: Role, places: Places, account_id: str | None, store: Address | None
) -> list[Target]:
    """The objects, and what their buckets are listed for; with what imports need of ``store``.

    Raises:
        RefusedError: a role that has no use for one.
    """
    found: list[Target] = []
    for kind, url in _named(role, places):
        address = parse_address(url)
        if address.scheme != "s3":
            continue  # files have permissions
        place = place_of(address.account, "s3", str(address), account_id=account_id)
        keys = [] if places.key in {None, "none"} else [str(places.key)]
        found += objects_targets(kind, place, address.path, keys)
        if kind == "data_sets":
            found += _imports(store, url, account_id)
    return found


def _named(role: Role, places: Places) -> Iterator[tuple[Kind, str]]:
    granted = {each.on for each in GRANTS[role]}
    kinds: tuple[Kind, ...] = ("archive", "snapshots", "data_sets")
    for kind in kinds:
        url = getattr(places, kind)
        if url is None:
            continue
        if kind not in granted:
            option = "--import" if kind == "data_sets" else f"--{kind}"
            raise RefusedError(f"{option}, and the role is {role}", url, "leave it out")
        yield kind, url
    if places.key is not None and not any((places.archive, places.snapshots, places.data_sets)):
        raise RefusedError("--bucket-key, and there is no bucket", "", "leave it out")


def _imports(store: Address | None, url: str, account_id: str | None) -> list[Target]:
    if store is None or store.scheme != "dynamodb":
        raise RefusedError("--import, and no STORE in DynamoDB", url, "name dynamodb://PREFIX")
    place = place_of(store.account, "dynamodb", str(store), account_id=account_id)
    return import_targets(place, [f"{store.path}.*"])
