"""KITTI's average precision, and its interval over scenes: overlaps, matching, tables and a readable twin."""
