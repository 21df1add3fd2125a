"""Who runs the scenes of a plan: worker processes of this machine, or a Dask cluster."""
