"""Entries to CinC 2016 and the Challenge of 2022, run under limits and scored by the official rules."""
