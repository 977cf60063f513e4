import errno
import gzip
import json
import os
import subprocess
import sys
import tracemalloc

import pytest

from mpn import files
from mpn.errors import UserError
from mpn.files import (
    atomic_path,
    make_replaceable,
    make_writable,
    read_bytes,
    read_json,
    temporary_path,
    write_json,
)


def test_atomic_path_keeps_folder_and_whole_suffix(tmp_path):
    target = tmp_path / "person.weights.h5"
    with atomic_path(target) as temporary:
        assert temporary.parent == tmp_path and temporary != target
        assert temporary.name.endswith("person.weights.h5")
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert os.listdir(tmp_path) == ["person.weights.h5"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_atomic_path_keeps_the_old_file_when_writing_fails(tmp_path, error):
    target = tmp_path / "a.json"
    target.write_text("old")
    with pytest.raises(error), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.json"]


def test_atomic_path_names_the_final_file_in_errors(tmp_path):
    target = tmp_path / "missing" / "a.json"
    with pytest.raises(FileNotFoundError) as caught, atomic_path(target) as temporary:
        temporary.write_text("x")
    assert caught.value.filename == str(target)

    target = tmp_path / "a.json"
    with pytest.raises(OSError) as caught, atomic_path(target) as temporary:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")  # write() knows no name
    assert caught.value.filename == str(target) and caught.value.errno == 28
    assert os.listdir(tmp_path) == []


def test_atomic_path_keeps_the_words_of_errors_without_a_number(tmp_path):
    with pytest.raises(OSError, match="unable to flush") as caught, atomic_path(tmp_path / "a.h5"):
        raise OSError("unable to flush")
    assert caught.value.filename == str(tmp_path / "a.h5")


def test_atomic_path_leaves_errors_about_other_files_alone(tmp_path):
    with pytest.raises(OSError) as caught, atomic_path(tmp_path / "a.json"):
        (tmp_path / "other").read_text()
    assert caught.value.filename == str(tmp_path / "other")


def test_atomic_path_follows_no_link_that_lies_in_its_way(tmp_path):
    (tmp_path / "precious").write_text("precious")
    temporary_path(tmp_path / "a.json").symlink_to(tmp_path / "precious")
    with atomic_path(tmp_path / "a.json") as temporary:
        assert not temporary.is_symlink()
        temporary.write_text("new")
    assert (tmp_path / "precious").read_text() == "precious"
    assert (tmp_path / "a.json").read_text() == "new" and not (tmp_path / "a.json").is_symlink()


def test_a_link_that_is_put_there_meanwhile_is_not_followed(tmp_path, monkeypatch):
    (tmp_path / "precious").write_text("precious")
    temporary_path(tmp_path / "a.json").symlink_to(tmp_path / "precious")
    monkeypatch.setattr(type(tmp_path), "unlink", lambda *_, **__: None)
    with pytest.raises(FileExistsError), atomic_path(tmp_path / "a.json") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_name_may_be_as_long_as_the_file_system_admits(tmp_path):
    path = tmp_path / ("ü" * 125 + ".json")  # 255 bytes
    with atomic_path(path) as temporary:
        temporary.write_text("x")
    assert path.read_text() == "x"


@pytest.fixture
def gone():
    """Number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_leftovers_of_processes_that_are_gone_are_removed(tmp_path, gone):
    kept = [f".tmp-{os.getpid()}-a.json", ".tmp-1-a.json", ".tmp-x-a.json", f".old-{gone}-a.json", f"tmp-{gone}-a.json"]
    machine = temporary_path(tmp_path / "a").name.split("-")[2]
    for name in (*kept, f".tmp-{gone}-a.weights.h5", f".tmp-{gone}-{machine}-a.json"):
        (tmp_path / name).write_text("half")
    (tmp_path / f".tmp-{gone}-{machine}-export" / "boxes" / "variables").mkdir(parents=True)
    names = ("config.json", "prn.weights.h5", ".tmp-1-0123abcd-position_prior.npy", "export.json", "network.xml")
    for name in (*names, "boxes/saved_model.pb", "boxes/variables/variables.index"):
        (tmp_path / f".tmp-{gone}-{machine}-export" / name).write_text("{}")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "precious").write_text("")
    (tmp_path / f".tmp-{gone}-link").symlink_to(tmp_path / "folder")
    with atomic_path(tmp_path / "b.json") as temporary:
        temporary.write_text("x")
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, "b.json", "folder"])
    assert (tmp_path / "folder" / "precious").exists()


def test_folders_of_the_users_stay_whatever_their_names(tmp_path, gone):
    machine = temporary_path(tmp_path / "a").name.split("-")[2]
    names = [f".tmp-{gone}-backup", f".tmp-{gone}-{machine}-photographs", f".tmp-{gone}-{machine}-deep"]
    names.append(f".tmp-{gone}-{machine}-graph")
    for name, file in zip(names, ("config.json", "a.jpg", "config.json/a", "boxes/a.jpg"), strict=True):
        (tmp_path / name / file).parent.mkdir(parents=True)
        (tmp_path / name / file).write_text("precious")
    make_writable(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(names)


def test_leftovers_of_other_machines_stay_for_a_day(tmp_path, gone):
    """Their processes cannot be seen from here: containers that share a folder must not spoil each other's files."""
    names = [f".tmp-{gone}-0123abcd-{age}.json" for age in ("new", "old")]
    for name in names:
        (tmp_path / name).write_text("half")
    os.utime(tmp_path / names[1], (0, 0))
    make_writable(tmp_path)
    assert os.listdir(tmp_path) == names[:1]


def test_a_folder_without_space_is_an_error(tmp_path):
    with pytest.raises(OSError) as caught:
        make_writable(tmp_path / "new", 10**18)
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(tmp_path / "new")


@pytest.mark.parametrize("name", ["a.json", "a.json.gz"])
def test_json_round_trip(tmp_path, name):
    value = {"name": "Zoë", "list": [1, 2.5, None, True]}
    write_json(tmp_path / name, value)
    assert read_json(tmp_path / name, "results") == value
    assert ((tmp_path / name).read_bytes()[:2] == b"\x1f\x8b") == name.endswith(".gz")


def test_write_json_refuses_nan_and_leaves_nothing(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", [float("nan")])
    assert os.listdir(tmp_path) == []


def test_read_json_reads_a_byte_order_mark(tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf[1]")
    assert read_json(tmp_path / "a.json", "results") == [1]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not valid JSON"),
        (b'{"a": 1', "not valid JSON .*line 1"),
        (b"\xff\xfe\xfa\x81", "not valid JSON"),
        (b"[" * 200_000, "not valid JSON"),
        (gzip.compress(json.dumps(list(range(1000))).encode())[:-20], "damaged gzip"),
        (b"\x1f\x8b\x08garbage" * 3, "damaged gzip"),
        (b"[" + b"1" * 5000 + b"]", "not valid JSON"),  # more digits than Python reads
    ],
)
def test_read_json_says_what_is_wrong_with_which_file(tmp_path, content, words):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        read_json(path, "COCO annotations")
    assert "COCO annotations" in str(caught.value) and str(path) in str(caught.value)


def two_members(data):
    return gzip.compress(data[:500]) + gzip.compress(data[500:])


@pytest.mark.parametrize("pack", [bytes, gzip.compress, two_members])
def test_json_is_read_up_to_a_stated_size(tmp_path, monkeypatch, pack):
    path = tmp_path / "a.json"
    path.write_bytes(pack(b"[" + b" " * 1000 + b"]"))
    monkeypatch.setattr(files, "MOST_JSON_BYTES", 1002)
    assert read_json(path, "results") == []
    monkeypatch.setattr(files, "MOST_JSON_BYTES", 1001)
    with pytest.raises(UserError, match="results '.*a.json' has more than 1,001 bytes"):
        read_json(path, "results")


def test_json_is_read_up_to_a_stated_number_of_lists(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    path.write_text("[[], {}]")
    monkeypatch.setattr(files, "MOST_JSON_CONTAINERS", 2)
    with pytest.raises(UserError, match="more than 2 lists and objects"):
        read_json(path, "results")


def test_json_is_read_up_to_a_stated_number_of_commas(tmp_path, monkeypatch):
    path = tmp_path / "a.json.gz"
    monkeypatch.setattr(files, "MOST_JSON_COMMAS", 1000)
    path.write_bytes(gzip.compress(b"[0" + b",0" * 1000 + b"]"))
    assert read_json(path, "results") == [0] * 1001
    path.write_bytes(gzip.compress(b"[0" + b",0" * 1001 + b"]"))
    with pytest.raises(UserError, match="results '.*a.json.gz' has more than 1,000 commas"):
        read_json(path, "results")


def test_a_small_archive_takes_no_more_memory_than_its_limit(tmp_path, monkeypatch):
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(b" " * (1 << 27), 1))  # 0.6 MB
    monkeypatch.setattr(files, "MOST_JSON_BYTES", 1 << 20)
    tracemalloc.start()
    with pytest.raises(UserError, match="more than"):
        read_json(path, "results")
    assert tracemalloc.get_traced_memory()[1] < 1 << 26
    tracemalloc.stop()


def test_names_that_are_no_text_are_written_as_escapes(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    write_json(tmp_path / "a.json", {"images": name})
    assert read_json(tmp_path / "a.json", "results") == {"images": name}


def test_make_replaceable_makes_the_folder_and_refuses_one(tmp_path):
    make_replaceable(tmp_path / "new" / "a.json")
    assert os.listdir(tmp_path / "new") == []
    with pytest.raises(UserError, match="new' is a folder"):
        make_replaceable(tmp_path / "new")


def test_read_bytes_of_what_is_no_file(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_bytes(tmp_path / "missing", "image")
    with pytest.raises(UserError, match="is a folder"):
        read_bytes(tmp_path, "image")
    with pytest.raises(UserError, match="not a possible file name"):
        read_bytes("a\0b", "image")
