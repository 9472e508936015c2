"""Entries of CinC 2016 and of the Challenge 2022: run under limits, scored by official rules."""
