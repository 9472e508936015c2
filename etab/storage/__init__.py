"""Files that etab writes: atomic writes, digests, caches and memory."""
