"""The ``etab`` command."""
