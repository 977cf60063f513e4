"""Which files the demo works on, and what their results are called."""

import glob
import os
from pathlib import Path

from mpn.demo.video import VIDEO_SUFFIXES
from mpn.errors import UserError
from mpn.images import IMAGE_SUFFIXES

# The photograph that runs where nothing is named; `skimage.data.astronaut` comes with a package that is needed anyway.
EXAMPLE = Path("astronaut.png")

PICTURE, PEOPLE, FIELDS, VIDEO, LINES = ("_poses.jpg", "_poses.json", "_fields.jpg", "_poses.mp4", "_poses.jsonl")
_RESULTS = (PICTURE, PEOPLE, FIELDS, VIDEO, LINES)
# A file named like a drawing is one where its text lies beside it.
_DRAWINGS = {PICTURE: PEOPLE, FIELDS: PEOPLE, VIDEO: LINES}


def example_image():
    """The photograph of one person that scikit-image ships: (512, 512, 3) uint8 RGB."""
    from skimage import data  # slow to import, and seldom needed

    return data.astronaut()


def find_inputs(inputs):
    """The image and video files that the inputs mean, each once.

    What exists is taken as it is: a file, whatever its name, or a folder, which means the images and videos in it
    by suffix, in order of their names, without those of folders inside, hidden files and drawings that an earlier run
    left there (`NAME_poses.jpg` beside a `NAME_poses.json`, ...). What does not exist and has a `*`, `?` or `[` is a
    pattern (`**` means any folders) and means the images and videos that match it, likewise.

    Args:
        inputs: paths of files or folders, or patterns.

    Returns:
        list of Path; files named in so many words may not exist.

    Raises:
        UserError: a folder has no image or video, a pattern matches none, or not one of the inputs exists.
    """
    found = [_files_of(str(item)) for item in inputs]
    if not any(os.path.exists(path) for files in found for path in files):
        raise UserError(f"no such file or folder: {', '.join(repr(str(item)) for item in inputs)}; check the path")
    paths = {}  # by what they point to; a dict keeps the order
    for path in (path for files in found for path in files):
        paths.setdefault(os.path.realpath(path), path)
    return list(paths.values())


def _files_of(item):
    """The files that one input means: list of Path."""
    if not item:  # the current folder to pathlib, and an unset variable to whoever typed it
        raise UserError("an input is empty: name an image, a video, a folder or a pattern")
    path = Path(item)
    kinds = ", ".join(IMAGE_SUFFIXES + VIDEO_SUFFIXES)
    if os.path.isdir(path):  # unlike Path's methods, these answer for names that are too long as well
        files = _images_and_videos(path.iterdir())
        if not files:
            raise UserError(f"folder '{path}' has no images or videos: files must end with one of {kinds}")
        return files
    if os.path.exists(path) or not glob.has_magic(item):
        return [path]
    files = _images_and_videos(Path(match) for match in glob.iglob(item, recursive=True))
    if not files:
        raise UserError(f"no images or videos match '{item}': check the pattern; files must end with one of {kinds}")
    return files


def _images_and_videos(paths):
    """Those that are meant when a folder or pattern is named: sorted list of Path."""
    return sorted(
        path
        for path in paths
        if path.suffix.lower() in IMAGE_SUFFIXES + VIDEO_SUFFIXES
        and os.path.isfile(path)
        and not path.name.startswith(".")
        and not _is_drawing(path)
    )


def _is_drawing(path):
    """Whether an earlier run made this file."""
    return any(
        path.name.endswith(drawing) and os.path.exists(path.with_name(path.name.removesuffix(drawing) + text))
        for drawing, text in _DRAWINGS.items()
    )


def result_names(paths, output):
    """A name for each input's results, such that no two share one and no result overwrites an input.

    It is the file's stem; where several files share a stem, the whole file name with an underscore for the
    dot (a_png, a_mp4); and with a number behind it where that is taken too. Case is ignored, as some file
    systems do.

    Args:
        paths: list of Path.
        output: Path, the folder of the results.

    Returns:
        list of str, parallel to `paths`; results have the suffixes of this module behind it.
    """
    stems = [path.stem.casefold() for path in paths]
    taken = {_location(path) for path in paths} | {os.path.realpath(path).casefold() for path in paths}
    names = []
    for path, stem in zip(paths, stems, strict=True):
        base = path.stem if stems.count(stem) == 1 else path.name.replace(".", "_")
        name, number = base, 1
        while taken & (files := {_location(output / (name + suffix)) for suffix in _RESULTS}):
            number += 1
            name = f"{base}-{number}"
        taken |= files
        names.append(name)
    return names


def _location(path):
    """The real place of a directory entry, in lower case; unlike os.path.realpath, of a link itself."""
    return os.path.join(os.path.realpath(path.parent), path.name).casefold()
