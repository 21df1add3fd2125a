"""A town with the statistics of real drives: streets, what stands beside them, and who moves there."""
