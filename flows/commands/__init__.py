"""The verbs of the command line, one small function each: read the options, call the work, print its answer."""
