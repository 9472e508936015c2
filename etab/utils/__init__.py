"""Import paths of 2022; the code is in ``etab.legacy``."""
