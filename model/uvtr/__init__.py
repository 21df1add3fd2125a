"""UVTR: a detector of all cameras on the volume that MIM4D lifts, measured by nuScenes' own metric."""
