"""Pictures of what a detector found in one frame: boxes in the image and in space, its dense maps, and a view from above.

Reads  the arrays of ``model.monoddle.evaluation.picture_of``, from memory or from pictures.npz
Writes Panel, and one JPEG a frame
"""

from __future__ import annotations

from flows.reports.monoddle.pictures.panels import FOUND, TRUTH, detection_panels
from flows.reports.monoddle.pictures.sheet import sheet_jpeg
from model.monoddle.detection_frames import DetectionFrame, frame_of, frames_of

__all__ = ["FOUND", "TRUTH", "DetectionFrame", "detection_panels", "frame_of", "frames_of", "sheet_jpeg"]
