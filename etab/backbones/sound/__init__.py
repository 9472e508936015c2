"""Backbones of heart sounds: named networks, checkpoints of other people, and controls."""
