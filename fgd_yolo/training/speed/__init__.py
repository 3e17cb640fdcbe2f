"""What makes a step faster, or keeps it from waiting, and leaves its result as it is; bfloat16 alone changes it.

- `spare_core.py`: whether a CPU has cores left for a second thread
- `beside.py`: runs work beside the student, in a thread or on a stream
- `weight_gradients.py`: half of a plain training's backward pass in a second thread of a CPU
- `pointwise.py`: faster 1x1 convolutions on a CPU
- `cpu_autocast.py`: bfloat16 on a CPU
- `half_precision.py`: from half precision back to float32
- `host_labels.py`: the labels of a batch on the CPU
- `later_value.py`: values of a GPU that the CPU reads later
"""
