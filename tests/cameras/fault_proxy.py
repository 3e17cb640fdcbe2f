"""A TCP proxy with faults between a client and a camera, for RTSP over TCP and HTTP. It prints its port.

It reads commands from standard input, one per line, and answers each with `done`: `ok`, `stall` (stop forwarding),
`cut` (reset every connection, accept new ones), `refuse` (reset every connection, old and new), `corrupt FRACTION`
(change that fraction of the camera's bytes), `rate BYTES` (per second and connection). It stops at the end of its
input, or after `--seconds`.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from contextlib import suppress

CHUNK = 16384


class Proxy:
    """Forwards bytes, with the fault of the last command."""

    def __init__(self, target: int, seed: int):
        self.target = target
        self.random = random.Random(seed)
        self.connections: set[asyncio.StreamWriter] = set()
        self.fault, self.value = "ok", 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client until it or the camera disconnects, or the proxy stops."""
        with suppress(asyncio.CancelledError):
            await self._serve(reader, writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.add(writer)
        if self.fault == "refuse":
            self._reset()
        while self.fault == "stall":  # accepted, never answered
            await asyncio.sleep(0.05)
        try:
            camera_reader, camera_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self.connections.add(camera_writer)
        up = asyncio.create_task(self._forward(reader, camera_writer, faulty=False))
        down = asyncio.create_task(self._forward(camera_reader, writer, faulty=True))
        await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
        for task, side in ((up, camera_writer), (down, writer)):
            task.cancel()
            self.connections.discard(side)
            side.close()

    async def _forward(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, faulty: bool) -> None:
        try:
            while data := await source.read(CHUNK):
                while self.fault == "stall":
                    await asyncio.sleep(0.05)
                if self.fault == "rate":
                    await asyncio.sleep(len(data) / self.value)
                sink.write(self._corrupted(data) if faulty and self.fault == "corrupt" else data)
                await sink.drain()
        except OSError:
            return

    def _corrupted(self, data: bytes) -> bytes:
        damaged = bytearray(data)
        count = len(data) * self.value
        for _ in range(int(count) + (self.random.random() < count % 1)):
            damaged[self.random.randrange(len(damaged))] ^= self.random.randrange(1, 256)
        return bytes(damaged)

    def execute(self, command: str) -> None:
        """Execute one command."""
        name, _, value = command.partition(" ")
        self.fault, self.value = ("ok", 0.0) if name == "cut" else (name, float(value or 0))
        if name in ("cut", "refuse"):
            self._reset()

    def _reset(self) -> None:
        for writer in self.connections:
            writer.transport.abort()
        self.connections.clear()


async def main() -> None:
    """Run until the input ends or the time is up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", type=int, help="the camera's port")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=60)
    args = parser.parse_args()
    proxy = Proxy(args.target, args.seed)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", args.port)
    print(server.sockets[0].getsockname()[1], flush=True)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)

    async def execute_commands() -> None:
        while line := await commands.readline():
            proxy.execute(line.decode().strip())
            print("done", flush=True)

    await asyncio.wait([asyncio.create_task(execute_commands())], timeout=args.seconds)


if __name__ == "__main__":
    asyncio.run(main())
