"""Tools by the names of the first ETAB."""
