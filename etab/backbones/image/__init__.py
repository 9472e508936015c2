"""Backbones of pictures: named networks, checkpoints of other people, and controls."""
