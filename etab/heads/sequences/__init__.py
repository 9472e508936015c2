"""Heads that read a sequence of feature vectors."""
