"""What ``benchmarks/gpu_check.py`` measures on a GPU: a file a part, each run in a process of its own."""
