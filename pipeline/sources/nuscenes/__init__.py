"""nuScenes-format data sets: any version folder, any cameras, any image size."""
