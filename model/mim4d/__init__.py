"""MIM4D: masked video of several cameras, rebuilt through voxels in time and rendered."""
