"""Models that generate docids: a small decoder on a frozen encoder's vectors, and checkpoints of transformers."""
