"""Heads that read one feature vector a row."""
