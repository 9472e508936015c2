"""Training the backbone together with its head."""
