"""Reads files and JSON with clear errors, and writes files that are either complete or absent."""

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

# Limits of decompressed JSON: a small .gz could fill the memory. COCO's largest file has 450 MB, 4 million lists and
# objects and about 70 million commas. A number in a list takes two bytes of text, but up to 40 of memory.
MOST_JSON_BYTES = 2**30
MOST_JSON_CONTAINERS = 20_000_000
MOST_JSON_COMMAS = 100_000_000
# Temporary files of other machines are kept this long, since their processes cannot be seen.
_SECONDS_OF_OTHERS = 24 * 3600
# Files of model directories and exports, the only folders that are written under a temporary name.
_OF_A_MODEL = re.compile(
    r"(.+-)?(config|export)\.json|.+\.weights\.h5|.+\.npy|README\.md|(network|boxes|detect|group|peaks)"
    r"(\.(onnx|xml|bin|tflite)|/fingerprint\.pb|/saved_model\.pb|/variables/variables\..+)"
)


def temporary_path(path):
    """A path beside `path` to write first. The name holds process and machine, and ends like `path`."""
    path = Path(path)
    # Only the end of the name, which may be as long as the file system allows.
    return path.with_name(f".tmp-{os.getpid()}-{_machine()}-{path.name[-50:]}")


@functools.lru_cache(maxsize=1000)  # once per folder, which may hold many files
def _remove_leftovers(folder):
    """Removes temporary files and folders that killed processes have left in a folder."""
    for path in Path(folder).glob(".tmp-*"):
        name = re.match(r"\.tmp-(\d{1,9})-(?:([0-9a-f]{8})-)?.", path.name)
        with contextlib.suppress(OSError):
            if not name or not _is_left_over(path, int(name[1]), name[2]):
                continue
            if not path.is_dir() or path.is_symlink():
                path.unlink()
            # Other folders may belong to the user.
            elif name[2] and all(_is_of_a_model(inner, path) for inner in path.rglob("*")):
                shutil.rmtree(path)


def _is_of_a_model(path, folder):
    if path.is_dir() and not path.is_symlink():
        return True
    return path.is_file() and _OF_A_MODEL.fullmatch(path.relative_to(folder).as_posix())


def _is_left_over(path, process, machine):
    if os.name == "nt" or machine not in (None, _machine()):  # on Windows, os.kill would end the process
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
    """Eight digits that tell this machine or container from others that share its folders."""
    name = socket.gethostname()
    with contextlib.suppress(OSError):
        name += os.readlink("/proc/self/ns/pid")  # containers may share their host's name, but not its process numbers
    return hashlib.sha256(name.encode()).hexdigest()[:8]


@contextlib.contextmanager
def atomic_path(path):
    """Yields the path of an empty temporary file that replaces `path` at the end: readers see the old file or the new.

    The temporary name ends like `path`, since Keras requires `.weights.h5`. After an exception the temporary file is
    gone and `path` is unchanged. An OSError gets `path` as its filename.
    """
    path = Path(path)
    temporary = temporary_path(path)
    _remove_leftovers(path.parent)
    try:
        temporary.unlink(missing_ok=True)
        # O_EXCL does not follow a link.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())  # or a power cut could leave an empty file
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.errno is None:  # from h5py; with a filename, str(error) would lose its words
            raise OSError(errno.EIO, str(error), str(path)) from error
        if error.filename is None or str(error.filename) == str(temporary):
            error.filename, error.filename2 = str(path), None
        raise
    except BaseException:  # Ctrl-C must not leave half a checkpoint either
        temporary.unlink(missing_ok=True)
        raise


def make_writable(folder, space=0):
    """Makes a folder if needed; OSError if files cannot be written there, or fewer than `space` bytes are free."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    _remove_leftovers(folder)
    with tempfile.TemporaryFile(dir=folder):
        pass
    if shutil.disk_usage(folder).free < space:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def make_replaceable(path):
    """Makes a file's folder if needed; UserError if `path` is a folder, OSError if its folder is not writable."""
    if Path(path).is_dir():
        raise UserError(f"'{path}' is a folder, and a file is to be written there: give the name of a file")
    make_writable(Path(path).parent)


def write_json(path, value, indent=None):
    """Writes JSON atomically, compressed if the name ends with `.gz`; ValueError for NaN and infinity."""
    text = json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False) + "\n"
    data = text.encode(errors="backslashreplace")  # JSON's own escape, for file names that are not UTF-8
    if Path(path).suffix == ".gz":
        data = gzip.compress(data, mtime=0)  # without the time, equal values give equal bytes
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def read_json(path, what):
    """Reads JSON, compressed or not; UserError if missing, damaged or too large. Messages call the file `what`."""
    data = read_bytes(path, what, MOST_JSON_BYTES)
    try:
        if data.startswith(b"\x1f\x8b"):
            data = _read_up_to(gzip.GzipFile(fileobj=io.BytesIO(data)), MOST_JSON_BYTES, f"{what} '{path}'")
        for count, most, things in (
            (data.count(b"[") + data.count(b"{"), MOST_JSON_CONTAINERS, "lists and objects"),
            (data.count(b","), MOST_JSON_COMMAS, "commas"),
        ):
            if count > most:
                raise UserError(f"{what} '{path}' has more than {most:,} {things}, the most that are read")
        return json.loads(data)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{what} '{path}' is a damaged gzip file: copy or download it again") from error
    except json.JSONDecodeError as error:
        reason = f"{error.msg} at line {error.lineno}, column {error.colno}"
        raise UserError(f"{what} '{path}' is not valid JSON ({reason}): copy it again") from error
    except (ValueError, RecursionError) as error:  # not text, numbers of thousands of digits, deep nesting
        raise UserError(f"{what} '{path}' is not valid JSON: check that it is the right file") from error


def read_bytes(path, what, most=None):
    """Reads a file; UserError if missing, unreadable or above `most` bytes. Messages call the file `what`."""
    try:
        with open(path, "rb") as file:
            return file.read() if most is None else _read_up_to(file, most, f"{what} '{path}'")
    except FileNotFoundError as error:
        raise UserError(f"{what} '{path}' does not exist: check the path") from error
    except IsADirectoryError as error:
        raise UserError(f"{what} '{path}' is a folder, not a file") from error
    except OSError as error:
        raise UserError(f"{what} '{path}' cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # a null character in the path
        raise UserError(f"{what} {str(path)!r} is not a possible file name") from error


def _read_up_to(file, most, name):
    blocks, size = [], 0
    while block := file.read(1 << 24):
        blocks.append(block)
        size += len(block)
        if size > most:
            raise UserError(f"{name} has more than {most:,} bytes (decompressed), the most that are read")
    return b"".join(blocks)
