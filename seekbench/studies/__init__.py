"""Studies: runs of one question over a grid of datasets and systems that are made for it, and their tables."""
