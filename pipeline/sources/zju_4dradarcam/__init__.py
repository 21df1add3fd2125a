"""ZJU-4DRadarCam: frames with ready-made depth maps of LiDAR and radar; no drives, poses, boxes or point clouds."""
