"""Live cameras and files through a detector, to sinks and a web page, with every frame accounted for.

Modules import only modules above them in this list:

- `url`, `address`: parse network addresses; hide secrets; name streams. `log`: messages about a stream.
- `stats`: the counters of a stream. `summary`: statistics as text. `orientation`: display matrices.
- `frame`: `Frame`, and `Result`, the detections on it. `source_clock`: the time of a stream's source.
- `sources`: open a camera, stream, file or folder. `reader`: keeps a source open and reads it.
- `scheduling`: waiting frames, the choice of the next stream, the workers that run the detector.
- `overlay`: draws boxes, ids and zones. `stream_options`: the options of a run.
- `sinks`: where results go. `steps`: class filter, tracking and zones, between the detector and the sinks.
- `stream`: one stream with its buffers and the delivery of its results. `pipeline`: all streams together.
- `web`: the web page. `run`: from options to the closing table.
"""
