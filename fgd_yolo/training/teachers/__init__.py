"""The teachers of a training: loaded, frozen, and each with the classes, levels and terms that it teaches.

- `load_teachers.py`: loads the teachers and chooses what each teaches
- `teacher.py`: a teacher, frozen and cut at its neck
- `teacher_precision.py`: the precision in which the teachers run
- `class_selection.py`: which classes are selected and taught
- `other_tasks.py`: a teacher of another task than its student: what it teaches, how it is measured
- `validation_by_name.py`: the accuracy of a teacher with other classes than the data
- `image_sizes.py`: teachers that see larger images than their student: the student's batch is shrunk from theirs
- `inherit.py`: the inheriting strategy, a student that starts from its teacher's neck and head
"""
