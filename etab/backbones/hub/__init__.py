"""Models of transformers, by a name of its hub or a folder: pictures, clips and sounds."""
