"""Simulated cameras and faulty networks, for tests and benchmarks.

- `stamp`: a time stamp in the pixels, by which the age of a frame is measured after all encoding and sending.
- `rtsp_server`, `mjpeg_server`, `fault_proxy`: programs that send frames, and that damage a connection on command.
- `processes`: starts these programs; `pytest_helpers`: skips a test whose program is not installed.
- `http_server`: an HTTP server in the test process, whose responses come from a function.
- `clips`: video files.
- `watched_reader`: a stream reader on a real address, and a record of its frames.
"""
