"""Speed, as a ratio against a peer and against a stated limit, in one run."""
