"""The commands of the command line, a file each: read the options, call the work, print its answer."""
