"""The training loop, its checkpoints, and training in several processes."""
