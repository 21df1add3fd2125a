"""Pure work: sources, stages and kernels in NumPy and numba, the planner and the runner. No torch, no Prefect, no Zarr."""
