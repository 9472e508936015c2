"""The import path of 2022 for ``etab.legacy.mit``."""

from etab.legacy.mit import mit_card

__all__ = ["mit_card"]
