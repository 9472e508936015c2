"""Checks of a dataset's folder against the published release: files, splits and checksums."""
