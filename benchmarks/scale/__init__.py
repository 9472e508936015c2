"""What a sweep survives, and how it scales."""
