"""Public layouts: writing a store in them, and reading them into a store."""
