"""Heads that answer with a mask."""
