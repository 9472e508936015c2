"""The rows of a task and the features that a backbone gives for them."""
