"""First hits of rays with the solid world: what every sensor measures with."""
