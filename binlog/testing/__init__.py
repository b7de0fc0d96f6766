"""Proofs of your own appliers; extra ``[testing]``, never imported by what runs in production."""

__all__: list[str] = []
