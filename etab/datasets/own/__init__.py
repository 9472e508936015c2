"""A user's own data, described by a table and a few lines of TOML instead of a class."""
