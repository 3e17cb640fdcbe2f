"""Run as a program: adds and removes streams in one pipeline, in a process that has done nothing else before.

`stream_rounds.py MODEL ROUNDS FILE...` adds every file as a stream, waits for their ends and removes them, over and
over, and prints JSON: the memory in bytes and the threads after each round, and how many removed streams are listed.
"""

from __future__ import annotations

import json
import sys
import threading

import psutil

from fgd_yolo.runtime import OnnxDetector
from fgd_yolo.streams.pipeline import Pipeline
from stream_parts import RecordingSink


def main(model: str, rounds: str, *files: str) -> None:
    process, sink = psutil.Process(), RecordingSink()
    memory, threads = [], []
    with Pipeline(OnnxDetector(model, "cpu", 2, mode="throughput"), [sink]) as pipeline:
        for _ in range(int(rounds)):
            names = [pipeline.add(file) for file in files]
            assert pipeline.wait(60)
            for name in names:
                pipeline.remove(name)
            sink.events.clear()
            memory.append(process.memory_info().rss)
            threads.append(threading.active_count())
        removed = len(pipeline.stats()["removed"])
    print(json.dumps({"memory": memory, "threads": threads, "removed": removed}))


if __name__ == "__main__":
    main(*sys.argv[1:])
