"""Heads that find the states of the heart in a recording."""
