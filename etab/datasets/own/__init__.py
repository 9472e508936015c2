"""Data of one's own, described by a table and a few lines of TOML instead of a class."""
