"""The contract: what every store holds, how it is written once, and how it is read back and pinned."""
