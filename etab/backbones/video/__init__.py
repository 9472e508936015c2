"""Backbones of clips."""
