"""What heads put out, branch by branch and level by level, as the terms compare it.

- `head_outputs.py`: outputs of the heads, paired by branch and level
- `encoder_outputs.py`: what RT-DETR's encoder predicts for each cell
- `coarser_outputs.py`: outputs of teachers that see larger images, on the student's cells
- `batch_parts.py`: joins the outputs of the parts of a batch
- `assignments.py`: which anchors the student's loss assigns to labelled boxes
- `head_methods.py`: what the methods that compare heads need of both heads
"""
