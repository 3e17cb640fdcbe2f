"""Attention maps of teacher and student, compared and drawn as in the figures of the FGD paper.

- `models.py`: loads a teacher and a student before and after training; their neck maps and alignments
- `image_objects.py`: the objects of an image, from its label file or from the teacher, and the foreground they make
- `labelled_images.py`: images letterboxed to the network's input, with their objects
- `level_attention.py`: attention maps and masks of one image at one level, computed as the FGD loss does
- `differences.py`: mean differences between attention maps as a table, a CSV file and a JSON file
- `figure.py`: one figure per image
"""
