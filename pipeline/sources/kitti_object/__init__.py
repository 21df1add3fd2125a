"""The KITTI object benchmark: single labelled images with calibration; no drives and no poses."""
