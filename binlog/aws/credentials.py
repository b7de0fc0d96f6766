"""Credentials that live as long as the process does: of a role, and of files that are rewritten.

What the SDK renews by itself (instance and container roles, SSO, web identity, a role in a profile)
is left to it. It does not renew what it read from a file, although the tools that put session
tokens there rewrite it every hour or so: such a file is looked at again when it has changed.

The classes here are what botocore takes for providers and credentials by their methods; deriving
from its own would make everybody import it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROLE_SESSION = "binlog"  # stands in CloudTrail beside the role
LOOK_EVERY_S = 1.0
_FROM_FILES = frozenset({"config-file", "shared-credentials-file"})
_STS_ATTEMPTS, _STS_CONNECT_S, _STS_READ_S = 4, 2.0, 5.0


def provide(core: Any, *, role: str | None, external_id: str | None, fips: bool) -> None:
    """Make the credentials of a botocore session such ones. No service is called for it.

    What fails when a role is assumed, or its credentials renewed, is a `CredentialRetrievalError`
    whose cause is what STS said: whatever call needed them was not made.
    """
    files = Files(core, core.get_component("credential_provider"))
    provider = files if role is None else Role(core, files, role, external_id, fips=fips)
    core.register_component("credential_provider", provider)


class Files:
    """The usual chain; what it finds in a file, with a session's token, is watched."""

    def __init__(self, core: Any, chain: Any) -> None:
        self._core = core
        self._chain = chain

    def load_credentials(self) -> Any:
        found = self._chain.load_credentials()
        if found is None or found.method not in _FROM_FILES or not found.token:
            return found
        named = [self._core.get_config_variable(n) for n in ("credentials_file", "config_file")]
        paths = [Path(path).expanduser() for path in named if path]
        return Watched(found, paths, self._read)

    def _read(self) -> Any:
        """What the chain finds now, frozen; nothing where it finds none, or cannot read."""
        from botocore.exceptions import BotoCoreError
        from botocore.session import Session

        try:
            found = Session(
                profile=self._core.instance_variables().get("profile")
            ).get_credentials()
            return None if found is None else found.get_frozen_credentials()
        except BotoCoreError:
            return None


class Watched:
    """Session credentials from files, read again when one of these has changed."""

    def __init__(self, found: Any, paths: Sequence[Path], read: Callable[[], Any]) -> None:
        self.method = found.method
        self._frozen = found.get_frozen_credentials()
        self._paths = paths
        self._read = read
        self._seen = self._states()
        self._looked_at = time.monotonic()
        self._reading = threading.Lock()

    def get_frozen_credentials(self) -> Any:
        if time.monotonic() - self._looked_at >= LOOK_EVERY_S:
            with self._reading:
                self._look()
        return self._frozen

    def get_deferred_property(self, name: str) -> Callable[[], Any]:
        return lambda: getattr(self, name, None)

    @property
    def access_key(self) -> Any:
        return self._frozen.access_key

    @property
    def secret_key(self) -> Any:
        return self._frozen.secret_key

    @property
    def token(self) -> Any:
        return self._frozen.token

    @property
    def account_id(self) -> Any:
        return self._frozen.account_id

    def _look(self) -> None:
        self._looked_at = time.monotonic()
        states = self._states()
        if states == self._seen or not any(states):
            return
        found = self._read()
        if found is not None:  # a file that is just being written may hold none
            self._seen, self._frozen = states, found

    def _states(self) -> list[tuple[int, int] | None]:
        """Of each file when it was written, and which it is: tools put a new one in its place."""
        states: list[tuple[int, int] | None] = []
        for path in self._paths:
            try:
                status = path.stat()
            except OSError:
                states.append(None)
            else:
                states.append((status.st_mtime_ns, status.st_ino))
        return states


class Role:
    """A role, assumed by what another provider finds."""

    def __init__(
        self, core: Any, source: Files, role: str, external_id: str | None, *, fips: bool
    ) -> None:
        self._core = core
        self._source = source
        self._role = role
        self._external_id = external_id
        self._fips = fips

    def load_credentials(self) -> Any:
        from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials

        found = self._source.load_credentials()
        if found is None:
            return None  # the SDK's own error says that there are none
        extra = {"RoleSessionName": ROLE_SESSION}
        if self._external_id is not None:
            extra["ExternalId"] = self._external_id
        fetcher = AssumeRoleCredentialFetcher(self._sts, found, self._role, extra_args=extra)
        return DeferredRefreshableCredentials(lambda: self._renewed(fetcher), "assume-role")

    def _renewed(self, fetcher: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError, CredentialRetrievalError

        try:
            return fetcher.fetch_credentials()
        except (BotoCoreError, ClientError) as error:
            raise CredentialRetrievalError(
                provider=f"AssumeRole {self._role}", error_msg=error
            ) from error

    def _sts(self, service: str, **keys: Any) -> Any:
        from botocore.config import Config

        config = Config(
            retries={"mode": "standard", "total_max_attempts": _STS_ATTEMPTS},
            connect_timeout=_STS_CONNECT_S,
            read_timeout=_STS_READ_S,
            use_fips_endpoint=self._fips or None,
        )
        return self._core.create_client(service, config=config, **keys)
