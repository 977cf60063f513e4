"""Files that are either whole or absent, and JSON."""

import contextlib
import errno
import functools
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import socket
import tempfile
import time
import zlib
from pathlib import Path

from mpn.errors import UserError

# Stated limits of JSON files, which a small .gz can exceed. COCO's largest has 450 MB, 4 million lists and objects.
MOST_JSON_BYTES = 2**30
MOST_JSON_CONTAINERS = 20_000_000
# A number of a list takes two bytes of text and up to 40 of memory. COCO's files have 6 to 7 bytes for each comma, so
# the largest has 65 to 75 million commas.
MOST_JSON_COMMAS = 100_000_000
# Temporary files of other machines and containers, whose processes cannot be seen from here, stay this long.
_SECONDS_OF_OTHERS = 24 * 3600
# Names of the files of a model directory, which alone is written as a temporary folder.
_OF_A_MODEL = re.compile(r"config\.json|.+-config\.json|.+\.weights\.h5|.+\.npy")


def temporary_path(path):
    """Path beside `path` for what becomes it later; its name tells process and machine, and ends as that of `path`."""
    path = Path(path)
    # The end alone, since a name may be as long as the file system admits.
    return path.with_name(f".tmp-{os.getpid()}-{_machine()}-{path.name[-50:]}")


@functools.lru_cache(maxsize=1000)  # once a folder: there may be many files in it
def remove_leftovers(folder):
    """Removes what processes that were killed have left of `temporary_path` in a folder."""
    for path in Path(folder).glob(".tmp-*"):
        name = re.match(r"\.tmp-(\d{1,9})-(?:([0-9a-f]{8})-)?.", path.name)
        if name:
            with contextlib.suppress(OSError):
                _remove_if_left_over(path, int(name[1]), name[2])


def _remove_if_left_over(path, process, machine):
    if not _is_left_over(path, process, machine):
        return
    if not path.is_dir() or path.is_symlink():
        path.unlink()
    elif machine and all(
        inner.is_file() and _OF_A_MODEL.fullmatch(inner.name) for inner in path.iterdir()
    ):  # else a folder of the user's
        shutil.rmtree(path)


def _is_left_over(path, process, machine):
    if os.name == "nt" or machine not in (None, _machine()):  # Windows has no way to ask without ending the process
        return time.time() - path.lstat().st_mtime > _SECONDS_OF_OTHERS
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:  # somebody else's process
        pass
    return False


@functools.cache
def _machine():
    """Eight digits that tell this machine, or container, from others that share its folders."""
    name = socket.gethostname()
    with contextlib.suppress(OSError):
        name += os.readlink("/proc/self/ns/pid")  # containers may have their host's name, and count processes anew
    return hashlib.sha256(name.encode()).hexdigest()[:8]


@contextlib.contextmanager
def atomic_path(path):
    """Writes a file completely or not at all: readers see the old file or the new one, never half of either.

    Use as `with atomic_path("a.weights.h5") as temporary: model.save_weights(temporary)`.

    Args:
        path: the file to make or replace; its folder must exist.

    Yields:
        Path of a temporary file to write, empty, in the same folder (os.replace cannot cross file systems). Its
        name ends as that of `path`, since Keras insists on the suffix `.weights.h5`.

    Raises:
        OSError: whatever the writing raised, with `path` as its filename. After any exception the temporary
            file is gone and `path` is as it was.
    """
    path = Path(path)
    temporary = temporary_path(path)
    remove_leftovers(path.parent)
    try:
        temporary.unlink(missing_ok=True)
        # Made anew here: a link that somebody has put in this place is not followed.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
        _flush_to_disk(temporary)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.errno is None:  # as h5py raises them; a filename alone would hide the words from str(error)
            raise OSError(errno.EIO, str(error), str(path)) from error
        if error.filename is None or str(error.filename) == str(temporary):
            error.filename, error.filename2 = str(path), None
        raise
    except BaseException:  # Ctrl-C must not leave half a checkpoint behind either
        temporary.unlink(missing_ok=True)
        raise


def _flush_to_disk(path):
    """Without this, a power cut soon after the renaming may leave an empty file under the final name."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def make_writable(folder, space=0):
    """Makes a folder where need be, and makes sure that files can be written there.

    Args:
        folder: path.
        space: bytes that the disk must have left.

    Raises:
        OSError: it cannot be made or written to, or the disk has less space.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    with tempfile.TemporaryFile(dir=folder):
        pass
    if shutil.disk_usage(folder).free < space:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def make_replaceable(path):
    """Makes sure that a file can be made or replaced, in a folder that is made where need be.

    Raises:
        UserError: `path` is a folder.
        OSError: its folder cannot be made or written to.
    """
    if Path(path).is_dir():
        raise UserError(f"'{path}' is a folder, and a file is to be written there: give the name of a file")
    make_writable(Path(path).parent)


def write_json(path, value, indent=None):
    """Writes `value` as JSON, atomically; compressed where the name ends with `.gz`.

    Args:
        path: the file to make or replace.
        value: anything `json.dumps` takes.
        indent: spaces a level, or None for one line.

    Raises:
        ValueError: `value` holds NaN or infinity, which JSON has no way to write.
        TypeError: `value` holds something that is not plain Python (a NumPy number, say).
        OSError: the file cannot be written.
    """
    text = json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False) + "\n"
    data = text.encode(errors="backslashreplace")  # JSON's own escape for what a file name may hold and UTF-8 may not
    if Path(path).suffix == ".gz":
        data = gzip.compress(data, mtime=0)  # no time stamp: the same value gives the same bytes
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def read_json(path, what):
    """Reads a JSON file, compressed with gzip or not.

    Args:
        path: the file.
        what: what the file should be, for messages: "COCO annotations".

    Returns:
        the value as plain Python.

    Raises:
        UserError: the file is missing, unreadable, truncated or not JSON, or larger than MOST_JSON_BYTES,
            MOST_JSON_CONTAINERS or MOST_JSON_COMMAS once it is decompressed.
    """
    data = read_bytes(path, what, MOST_JSON_BYTES)
    try:
        if data.startswith(b"\x1f\x8b"):
            data = _read_up_to(gzip.GzipFile(fileobj=io.BytesIO(data)), MOST_JSON_BYTES, f"{what} '{path}'")
        if data.count(b"[") + data.count(b"{") > MOST_JSON_CONTAINERS:
            most = f"{MOST_JSON_CONTAINERS:,} lists and objects, the most that are read"
            raise UserError(f"{what} '{path}' has more than {most}")
        if data.count(b",") > MOST_JSON_COMMAS:
            raise UserError(f"{what} '{path}' has more than {MOST_JSON_COMMAS:,} commas, the most that are read")
        return json.loads(data)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{what} '{path}' is a damaged gzip file: copy or download it again") from error
    except json.JSONDecodeError as error:
        reason = f"{error.msg} at line {error.lineno}, column {error.colno}"
        raise UserError(f"{what} '{path}' is not valid JSON ({reason}): copy it again") from error
    except (ValueError, RecursionError) as error:  # no text, whole numbers of thousands of digits, deep nesting
        raise UserError(f"{what} '{path}' is not valid JSON: check that it is the right file") from error


def read_bytes(path, what, most=None):
    """All bytes of a file that the user named.

    Args:
        path: the file.
        what: what the file should be, for messages: "image".
        most: bytes that it may have; None sets no limit.

    Raises:
        UserError: the file is missing, a folder, too large, or cannot be read.
    """
    try:
        if most is None:
            return Path(path).read_bytes()
        with open(path, "rb") as file:
            return _read_up_to(file, most, f"{what} '{path}'")
    except FileNotFoundError as error:
        raise UserError(f"{what} '{path}' does not exist: check the path") from error
    except IsADirectoryError as error:
        raise UserError(f"{what} '{path}' is a folder, not a file") from error
    except OSError as error:
        raise UserError(f"{what} '{path}' cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # a null character in the path
        raise UserError(f"{what} {str(path)!r} is not a possible file name") from error


def _read_up_to(file, most, name):
    """All bytes of an open file; UserError where there are more than `most`."""
    blocks, size = [], 0
    while block := file.read(1 << 24):
        blocks.append(block)
        size += len(block)
        if size > most:
            raise UserError(f"{name} has more than {most:,} bytes (decompressed), the most that are read")
    return b"".join(blocks)
