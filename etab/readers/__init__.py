"""Readers: bytes on disk to arrays. Each refuses a damaged file with CorruptFileError naming it."""
