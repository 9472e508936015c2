"""Backbones of users: Python functions, and names that installed packages bring."""
