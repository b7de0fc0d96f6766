"""Pure rules, item and event in and item out, and the stores they are applied to."""

__all__: list[str] = []
