"""Three processes tell each other values, errors and files; the third one has another cache than the first two."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fgd_yolo.distributed.exchange import Fact, broadcast, compare_digests, gather, leaders_first, send_file, together

pytestmark = pytest.mark.slow
RANKS = 3
CONTENT = bytes(range(256)) * 5
# Pieces of 100 bytes, so that a small file is sent in many.
CODE = """
import json, os, sys
from pathlib import Path
from fgd_yolo.distributed import exchange
from fgd_yolo.distributed.exchange import Fact, broadcast, compare_digests, gather, leaders_first, send_file, together
from fgd_yolo.distributed.process_group import join, leave
exchange._CHUNK_BYTES = 100
exchange.platform.node = lambda: "one" if rank < 2 else "two"
rank, folder, said = int(os.environ["RANK"]), Path(sys.argv[1]), {}
source, own = folder / "source.bin", folder / ("one" if rank < 2 else "two")

def ends(name, action):
    try: action(); said[name] = None
    except Exception as error: said[name] = [type(error).__name__, str(error)]

def fails_on(failing):
    with together():
        if rank in failing: raise ValueError(f"no room on {rank}")

order = folder / "order.txt"
def note():
    with order.open("a") as file: file.write(f"{rank}")
    return rank * 10

join("cpu")
said["broadcast"] = broadcast({"from": rank})
said["gather"] = gather(rank * rank)
ends("fine", lambda: fails_on([]))
ends("one fails", lambda: fails_on([1]))
ends("two fail", lambda: fails_on([2, 1]))
ends("same", lambda: compare_digests({"data": Fact("a", f"{rank}.yaml"), f"own {rank}": Fact(str(rank), "x")}))
ends("other", lambda: compare_digests({"fgd_yolo": Fact("1", "1"), "data": Fact(str(rank == 2), f"{own.name}.yaml")}))
ends("content", lambda: compare_digests({"data": Fact(str(rank == 1), "data.yaml")}))
said["leaders"] = leaders_first(note)
said["sent"] = str(send_file(source, [own / "missing", own / "copy.bin"]))
said["again"] = str(send_file(source, [own / "copy.bin", own / "never"]))
said["same path"] = str(send_file(source, [source, own / "never"]))
blocked = own / "file" if rank == 2 else own
ends("unwritable", lambda: send_file(source, [blocked / "copy2.bin"]))
ends("gone", lambda: send_file(folder / "none", [own / "none"]))
said["empty"] = send_file(folder / "empty", [own / "empty"]).stat().st_size
leave()
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("exchange")


@pytest.fixture(scope="module")
def said(folder) -> list[dict]:
    """What each rank has seen."""
    for name in ("one", "two"):
        (folder / name).mkdir()
    (folder / "source.bin").write_bytes(CONTENT)
    (folder / "empty").touch()
    (folder / "two/file").write_text("a file, so no folder")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(RANKS)}
    local = [("0", "2"), ("1", "2"), ("0", "1")]  # ranks 0 and 1 are on one host
    processes = []
    for rank, (local_rank, local_size) in enumerate(local):
        own = {"RANK": str(rank), "LOCAL_RANK": local_rank, "LOCAL_WORLD_SIZE": local_size}
        words = [sys.executable, "-c", CODE, str(folder)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        processes.append(subprocess.Popen(words, env={**os.environ, **place, **own}, **pipes))
    finished = [process.communicate(timeout=100) for process in processes]
    assert [process.returncode for process in processes] == [0] * RANKS, [err for _, err in finished]
    return [json.loads(out.splitlines()[-1]) for out, _ in finished]


def each(said: list[dict], name: str) -> list:
    return [rank[name] for rank in said]


def test_the_value_of_rank_0_is_that_of_all_and_each_sees_the_values_of_all(said):
    assert each(said, "broadcast") == [{"from": 0}] * RANKS
    assert each(said, "gather") == [[0, 1, 4]] * RANKS


def test_an_error_of_one_rank_is_an_error_of_all_with_its_rank_and_host(said):
    assert each(said, "fine") == [None] * RANKS
    theirs = ["FGDError", "rank 1 on one: no room on 1"]
    assert each(said, "one fails") == [theirs, ["ValueError", "no room on 1"], theirs]
    assert each(said, "two fail") == [theirs, ["ValueError", "no room on 1"], ["ValueError", "no room on 2"]]


def test_facts_that_differ_are_named_with_both_ranks_and_what_only_one_has_is_not_compared(said):
    assert each(said, "same") == [None] * RANKS
    assert (
        each(said, "other")
        == [
            [
                "FGDError",
                "data: rank 0 on one has one.yaml, rank 2 on two has two.yaml: all ranks need the same; "
                "change one of them and start again",
            ]
        ]
        * RANKS
    )
    kind, text = said[0]["content"]
    assert kind == "FGDError" and "rank 1 on one has data.yaml of other content" in text


def test_the_first_rank_of_each_host_comes_before_the_others(said, folder):
    assert each(said, "leaders") == [0, 10, 20]
    assert (folder / "order.txt").read_text() in ("021", "201")


def test_a_file_is_written_where_it_is_missing_and_found_where_it_is(said, folder):
    assert each(said, "sent") == [str(folder / name / "copy.bin") for name in ("one", "one", "two")]
    assert (folder / "one/copy.bin").read_bytes() == (folder / "two/copy.bin").read_bytes() == CONTENT
    assert each(said, "again") == each(said, "sent")
    assert each(said, "same path") == [str(folder / "source.bin")] * RANKS
    assert not list(folder.glob("*/never")) and not list(folder.glob("*/.partial*"))
    assert each(said, "empty") == [0] * RANKS


def test_a_file_that_cannot_be_written_or_read_is_an_error_of_all_ranks(said, folder):
    for rank in said[:2]:
        kind, text = rank["unwritable"]
        assert kind == "FGDError" and text.startswith(f"rank 2 on two: cannot write {folder}/two/file/copy2.bin")
    assert said[2]["unwritable"][1].startswith("cannot write ")
    assert said[0]["gone"] == ["FGDError", f"{folder}/none cannot be read (No such file or directory): put it back"]
    assert each(said, "gone")[1:] == [["FGDError", f"rank 0 on one: {said[0]['gone'][1]}"]] * 2


def test_a_single_process_exchanges_with_itself(tmp_path):
    file = tmp_path / "file"
    file.write_text("x")
    assert broadcast(1) == 1 and gather(1) == [1] and leaders_first(lambda: 2) == 2
    assert send_file(file, [tmp_path / "none", file]) == file
    compare_digests({"data": Fact("a", "b")})
    with pytest.raises(ValueError, match="x"), together():
        raise ValueError("x")
