"""Where a drill takes place."""

__all__: list[str] = []
