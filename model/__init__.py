"""Learning on the stores (torch). Reads stores through storage_schemas only."""
