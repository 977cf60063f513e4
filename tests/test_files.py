import errno
import gzip
import json
import os
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


def test_no_link_is_followed(tmp_path, monkeypatch):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "precious")
    monkeypatch.setattr(files, "temporary_path", lambda _: tmp_path / "link")
    with pytest.raises(FileExistsError), atomic_path(tmp_path / "a.json") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "precious").read_text() == "precious"


def test_no_two_writers_share_a_temporary_file(tmp_path):
    assert len({temporary_path(tmp_path / "a.json") for _ in range(100)}) == 100


def test_a_name_may_be_as_long_as_the_file_system_admits(tmp_path):
    path = tmp_path / ("ü" * 125 + ".json")  # 255 bytes
    with atomic_path(path) as temporary:
        temporary.write_text("x")
    assert path.read_text() == "x"


OLD, NEW = ".tmp-0123456789abcdef-", ".tmp-fedcba9876543210-"


def grow_old(*paths):
    for path in paths:
        os.utime(path, (0, 0), follow_symlinks=False)


def test_leftovers_of_killed_processes_are_removed(tmp_path):
    kept = [f"{NEW}a.json", ".tmp-x-a.json", f"{OLD[1:]}a.json", OLD]
    for name in (*kept, f"{OLD}a.weights.h5", "precious"):
        (tmp_path / name).write_text("half")
    (tmp_path / f"{OLD}link").symlink_to(tmp_path / "precious")
    grow_old(*(path for path in tmp_path.iterdir() if not path.name.startswith(NEW)))
    with atomic_path(tmp_path / "b.json") as temporary:
        temporary.write_text("x")
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, "b.json", "precious"])
    assert (tmp_path / "precious").read_text() == "half"


def test_folders_of_the_users_stay_whatever_their_names(tmp_path):
    (tmp_path / f"{OLD}photographs").mkdir()
    grow_old(*tmp_path.iterdir())
    make_writable(tmp_path)
    assert os.listdir(tmp_path) == [f"{OLD}photographs"]


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
        (b'{"a": 1', "not valid JSON .*line 1 column 8"),
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
