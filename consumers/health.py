"""Whether a log, and a store that is made from it, are set up to go on: what ``doctor`` looks at.

Nothing is changed: reads, and writes that cannot happen. One thing that cannot be looked at does not
keep the others from it. What has to be read in full is the business of ``check`` and ``status``.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec

from appliers.address import open_store
from appliers.store import Store
from appliers.stores.generations import check_binding
from binlog.address import Address, open_log, parse_address
from binlog.aws.health import (
    clock_finding,
    credentials_findings,
    endpoint_finding,
    permission_findings,
    sdk_finding,
    skew_finding,
)
from binlog.aws.identity import Identity, endpoint_of, place_of
from binlog.aws.permissions import Permission, Probe, examine, missing, simulate
from binlog.aws.policies import GRANTS, Role, Target, objects_targets, stream_target
from binlog.clock import Clock, SystemClock
from binlog.errors import BinlogError
from binlog.health import Finding, State, found
from binlog.log import Log
from binlog.logs.kinesis import READS_PER_S
from binlog.logs.kinesis_health import StreamHealth, probes, questions, reads_finding
from binlog.logs.kinesis_service import Service
from binlog.objects.s3_health import BucketHealth, deletes_finding
from binlog.sequencer_state import SequencerState
from consumers.aws_lambda_mapping import look_at
from consumers.kcl_java import java_findings
from consumers.lag import last_of_all

_FREE_MIN_BYTES, _FREE_MIN_SHARE = 256 * 1024 * 1024, 0.02


class Report(msgspec.Struct):
    """What was found, and the IAM policy document that would grant what is missing."""

    findings: list[Finding]
    policy: dict[str, Any] | None = None

    @property
    def healthy(self) -> bool:
        return not any(each.state == "unhealthy" for each in self.findings)


class Doctor:
    """One visit to a log, and a store.

    ``role`` is whose permissions are looked at, ``other_reads`` the budgets of the stream's other
    readers, in GetRecords calls a second and shard, ``function`` the Lambda function (name or ARN) that
    the stream is delivered to, ``archive`` and ``snapshots`` where those are.

    Raises:
        RefusedError: addresses that are none of a log and a store.
    """

    def __init__(
        self,
        log: str,
        store: str | None = None,
        *,
        role: Role = "reader",
        other_reads: Sequence[float] = (),
        function: str | None = None,
        archive: str | None = None,
        snapshots: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.report = Report([])
        self._objects = {
            kind: parse_address(url)
            for kind, url in (("archive", archive), ("snapshots", snapshots))
            if url is not None
        }
        self._log_url, self._store_url = log, store
        self._log = parse_address(log)
        self._store = None if store is None else parse_address(store)
        self._role = role
        self._other_reads = other_reads
        self._function = function
        self._clock: Clock = clock or SystemClock()

    def examine(self) -> Report:
        """All of it."""
        self._versions()
        if self._role == "kcl":
            self._add(*java_findings(os.environ))
        if self._log.scheme == "kinesis":
            self._stream()
        else:
            self._directory()
        if self._store is not None and self._store.scheme == "dynamodb":
            self._tables(self._store)
        for kind, address in self._objects.items():
            self._kept(kind, address)
        return self.report

    def _add(self, *findings: Finding) -> None:
        self.report.findings.extend(findings)

    def _versions(self) -> None:
        try:
            ours = version("kinesis-binlog")
        except PackageNotFoundError:
            ours = "not installed"
        self._add(Finding("versions", "ok", f"binlog {ours}, Python {platform.python_version()}"))
        schemes = {self._log.scheme, self._store.scheme if self._store else ""}
        schemes |= {each.scheme for each in self._objects.values()}
        if schemes & {"kinesis", "dynamodb", "s3"}:
            self._add(sdk_finding())

    # -- a log in a directory ----------------------------------------------------------------------

    def _directory(self) -> None:
        self._disk(Path(self._log.path), str(self._log))
        log = self._open()
        if log is None:
            return
        with contextlib.closing(log):
            ahead_ms = self._clock.now_ms() - log.now_ms()
            self._add(skew_finding(ahead_ms, log.name, "the log's, which its writers have set"))
            self._oldest_needed(log)

    def _open(self) -> Log | None:
        """The log; why there is none is a finding, too."""
        try:
            log = open_log(self._log_url, clock=self._clock)
        except BinlogError as error:
            self._add(found("log", error))
            return None
        what = f"{log.params.partitions} partitions, log id {log.params.log_id}"
        self._add(Finding("log", "ok", what, log.name))
        return log

    def _disk(self, folder: Path, where: str) -> None:
        if not folder.exists():
            return  # opening it says so
        usage = shutil.disk_usage(folder)
        free = f"{usage.free / 2**30:.1f} GiB of {usage.total / 2**30:.1f} are free"
        is_full = usage.free < max(_FREE_MIN_BYTES, usage.total * _FREE_MIN_SHARE)
        state: State = "unhealthy" if is_full else "ok"
        do = "make room: a log that cannot grow acknowledges nothing" if is_full else ""
        self._add(Finding("disk", state, free, where, do))
        if not os.access(folder, os.W_OK):
            self._add(Finding("disk", "noted", "not writable by this user", where, "reading works"))

    # -- a log in a stream -------------------------------------------------------------------------

    def _credentials(self, address: Address) -> tuple[bool, Identity | None]:
        """Whether there are any that can be used, and whose they are, if that can be known."""
        where, account, service = str(address), address.account, address.scheme
        try:
            self._add(endpoint_finding(endpoint_of(account, service, where), where))
            findings, identity = credentials_findings(account, service, where, self._clock)
        except BinlogError as error:
            self._add(found("credentials", error))
            return False, None
        self._add(*findings)
        return True, identity

    def _stream(self) -> None:
        usable, identity = self._credentials(self._log)
        if not usable:
            return  # every call would say so again
        service = questions(self._log.path, self._log.account, self._clock)
        with contextlib.closing(service.clients):
            stream = self._described(service)
            target = self._stream_target(stream, identity)
            if target is not None:
                self._permissions(self._log, [(target, probes(service))], identity)
        if stream is not None:
            self._log_in(stream)
            if self._function is not None:
                self._add(*look_at(stream.arn, self._function, self._log.account))

    def _described(self, service: Service) -> StreamHealth | None:
        try:
            stream = StreamHealth(service, self._clock)
        except BinlogError as error:
            self._add(found("stream", error))
            return None
        self._add(clock_finding(stream.reply, stream.asked_ms, stream.heard_ms, service.name))
        return stream

    def _stream_target(
        self, stream: StreamHealth | None, identity: Identity | None
    ) -> Target | None:
        """The stream as IAM knows it: as it calls itself, or as it has to be called."""
        account, where = self._log.account, str(self._log)
        account_id = None if identity is None else identity.account_id
        if stream is not None:
            account_id = stream.arn.split(":")[4]
        if account_id is None and account.role is None:
            return None
        try:
            place = place_of(account, "kinesis", where, account_id=account_id)
        except BinlogError:
            return None
        return stream_target(place, self._log.path, stream.kms_key if stream else None)

    def _permissions(
        self,
        address: Address,
        asked: Sequence[tuple[Target, Mapping[str, Probe]]],
        identity: Identity | None,
    ) -> None:
        permissions: list[Permission] = []
        for target, calls in asked:
            known = examine(
                self._role,
                target,
                calls,
                account=address.account,
                identity=identity,
                where=str(address),
            )
            permissions += known
            granting = missing(target, known)
            if granting is not None:
                earlier = self.report.policy["Statement"] if self.report.policy else []
                granting["Statement"] = earlier + granting["Statement"]
                self.report.policy = granting
        self._add(*permission_findings(self._role, permissions, str(address)))

    def _log_in(self, stream: StreamHealth) -> None:
        log, params, oldest, now_ms = self._open(), None, None, self._clock.now_ms()
        if log is not None:
            with contextlib.closing(log):
                params, now_ms = log.params, log.now_ms()
                oldest = self._oldest_needed(log, stream)
        read_ms, seen_ms = oldest or (None, None)
        self._add(*stream.findings(params))
        self._add(stream.retention(read_ms, now_ms, seen_ms=seen_ms))
        if oldest is None and (beginning := stream.beginning(now_ms)) is not None:
            self._add(beginning)
        mine = self._log.reads or READS_PER_S
        self._add(reads_finding([mine, *self._other_reads], str(self._log)))

    # -- a store -----------------------------------------------------------------------------------

    def _oldest_needed(
        self, log: Log, stream: StreamHealth | None = None
    ) -> tuple[int, int | None] | None:
        """Of the partition that a stream forgets first: when the last record came that the store was
        given, and when the log was last seen to end there.
        """  # noqa: D205
        if self._store_url is None:
            return None
        try:
            store = open_store(self._store_url, must_exist=True)
            with contextlib.closing(store):
                places = self._bound_store(log, store)
        except BinlogError as error:
            self._add(found("store", error))
            return None

        if stream is None:
            return None
        return min(places, key=lambda place: stream.good_until_ms(*place), default=None)

    def _bound_store(self, log: Log, store: Store) -> list[tuple[int, int | None]]:
        with store.view() as view:
            check_binding(store.name, view.genesis(), log.genesis)
            generations = view.generations()
            checkpoints = last_of_all(view)
        tables = sorted({table for each in generations for table in each.tables})
        applied = sum(each.applied for each in checkpoints.values())
        what = f"{len(tables)} table{'s' * (len(tables) != 1)}, {applied:,} events applied"
        self._add(Finding("store", "ok", what, store.name))
        # A partition without a checkpoint begins at the beginning, whenever that was.
        if len(checkpoints) < log.params.partitions:
            return []
        return [(SequencerState.decode(c.state).mark, c.seen_ms) for c in checkpoints.values()]

    def _tables(self, address: Address) -> None:
        from appliers.stores.dynamodb_access import targets_of
        from appliers.stores.dynamodb_health import StoreHealth
        from appliers.stores.dynamodb_tables_spec import Specification

        usable, identity = self._credentials(address)
        if not usable:
            return
        try:
            specification = Specification.load(address.tables, address.path)
            store = StoreHealth(specification, address.account, str(address))
        except BinlogError as error:
            self._add(found("tables", error))
            return
        with contextlib.closing(store):
            account_id = store.account_id or (identity.account_id if identity else None)
            if account_id is not None or address.account.role is not None:
                place = place_of(address.account, "dynamodb", str(address), account_id=account_id)
                targets = [each for each in targets_of(specification, place) if each.resources]
                asked = [(target, store.probes(target.on)) for target in targets]
                self._permissions(address, asked, identity)
            self._add(*store.findings())

    # -- an archive, snapshots ---------------------------------------------------------------------

    def _kept(self, kind: str, address: Address) -> None:
        if address.scheme != "s3":
            self._disk(Path(address.path), str(address))
            return
        usable, identity = self._credentials(address)
        if not usable:
            return
        try:
            bucket = BucketHealth(address.path, address.account, str(address))
        except BinlogError as error:
            self._add(found("bucket", error))
            return
        with contextlib.closing(bucket):
            try:
                account_id = identity.account_id if identity else None
                place = place_of(address.account, "s3", str(address), account_id=account_id)
            except BinlogError:
                place = None  # a stand-in's: there are no permissions to look at
            region = None
            if self._log.scheme == "kinesis" and place is not None:
                region = self._log.account.region or place.region
            self._add(*bucket.findings(region=region))
            if place is None:
                return
            targets = objects_targets("archive", place, address.path)
            if kind == "snapshots":
                targets = objects_targets("snapshots", place, address.path)
            role_has = {each.on for each in GRANTS[self._role]}
            asked = [(each, bucket.probes(each.on)) for each in targets if each.on in role_has]
            self._permissions(address, asked, identity)
            if kind == "archive":
                self._add(_deletes(address, identity, targets[0]))


def _deletes(address: Address, identity: Identity | None, target: Target) -> Finding:
    """Whether somebody who reads or writes an archive could remove it."""
    where = str(address)
    if identity is None:
        return deletes_finding(None, "unknown", where)
    action = "s3:DeleteObject"
    try:
        said = simulate(address.account, identity, [action], target, where)
    except BinlogError as error:
        return deletes_finding(error, "unknown", where)
    return deletes_finding(None, said[action].state if action in said else "unknown", where)
