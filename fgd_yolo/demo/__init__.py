"""The built-in demo: labelled images and a video with ground truth, rendered with numpy and OpenCV alone.

- `demo_dataset`, `demo_video`: write data set and video to the cache on first use.
- `rendering`: paints signs, background, lighting and noise. `signs`: shapes, colours and keypoints.
- `label_formats`: the labels for detect, segment, pose and obb. `outlines`: masks as polygons.
- `training_settings`: the Ultralytics arguments of a training on the demo data.
"""

from __future__ import annotations

from fgd_yolo.demo.demo_dataset import demo_dataset
from fgd_yolo.demo.demo_video import demo_video

__all__ = ["demo_dataset", "demo_video"]
