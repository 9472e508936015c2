"""Weights: the index of published files, their digests, and the formats they come in."""
