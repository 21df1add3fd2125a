"""What the commands of the command line share: options, completion, and how answers are printed."""
