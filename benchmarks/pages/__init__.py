"""Scripts that write the generated pages, the pictures and the outputs of the notebooks in ``docs/``."""
