"""How frames reach the detector: what waits, which stream goes next, and who runs it.

Each file uses only those before it:

- `frame_buffer`: the frames of one stream that wait, and the drop policy (`latest`, `every`, `max-age=MS`).
- `reorder_buffer`: the frames of one stream that are in flight; returns results in the order of the frames.
- `scheduler`: picks the stream that was served longest ago, and the run slots of the network.
- `workers`: the threads that preprocess, infer and postprocess.
"""
