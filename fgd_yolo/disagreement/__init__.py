"""The frames on which a student and its teacher disagree most: a page, numbers, and a start for their labels.

- `disagree.py`: the run, from options to files and one line
- `compared_labels.py`: opens both models, and finds what they see of the classes that both know
- `frame_scores.py`: matches the objects of a frame, and scores their difference
- `frames_to_label.py`: writes frames as a data set, labelled by the teacher
- `disagreement_page.py`: the page, with what is drawn on the frames
"""
