"""Other layouts, out of a store and back into one."""
