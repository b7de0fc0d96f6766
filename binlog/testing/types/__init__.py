"""From Python types to strategies of published data."""

__all__: list[str] = []
