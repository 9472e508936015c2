"""Baseline models by the names of the first ETAB."""
