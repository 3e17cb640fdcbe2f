"""The built-in demo: labelled pictures and a video with known truth, drawn with numpy and OpenCV alone."""

from __future__ import annotations

from fgd_yolo.demo.cache import cache_root
from fgd_yolo.demo.demo_dataset import demo_dataset
from fgd_yolo.demo.demo_video import demo_video

__all__ = ["cache_root", "demo_dataset", "demo_video"]
