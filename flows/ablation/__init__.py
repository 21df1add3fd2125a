"""Ablations: variants of one training with several seeds, and their table."""
