"""Unlabelled frames beside the labelled images: what the teachers find there teaches in the place of labels.

- `mixed_dataset.py`: labelled images and frames as one data set
- `frame_objects.py`: the objects that a teacher's head detects on a batch
- `frame_labels.py`: those that become labels, for the head terms and for Ultralytics' own loss
- `ignored_anchors.py`: anchors that the class term of that loss leaves out
"""
