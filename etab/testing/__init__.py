"""Contracts that third parties run on their own classes; what they break is an AssertionError."""
