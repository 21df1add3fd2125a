"""Where a detector is wrong: oracle replacement, groups of objects, and shifted centres."""
