"""How frames reach the detector: which wait, which stream is next, and which thread runs the detector.

Modules import only modules above them in this list:

- `frame_buffer`: the waiting frames of one stream, and the drop policy (`latest`, `every`, `max-age=MS`).
- `reorder_buffer`: the frames of one stream that are in flight; returns results in the order of the frames.
- `scheduler`: picks the stream that was served longest ago, and the run slots of the network.
- `workers`: the threads that preprocess, infer and postprocess.
"""
