"""What ``depthmill assess`` makes of measured frames: sums, tables, files and pictures."""
