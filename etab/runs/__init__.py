"""Cells of a board: one backbone on one task under one protocol."""
