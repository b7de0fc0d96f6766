"""The lock of event schemas: what every version of every type looks like, and what it folds to."""

__all__: list[str] = []
