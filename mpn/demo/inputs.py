"""Finds the demo's input files, and names their results."""

import glob
import os
from pathlib import Path

from mpn.errors import UserError
from mpn.images import IMAGE_SUFFIXES, read_image
from mpn.videos import VIDEO_SUFFIXES

# The default input: a photograph of one person that scikit-image ships.
EXAMPLE = Path("astronaut.png")

_IMAGES, _VIDEOS = ("_poses.jpg", "_poses.json", "_heatmaps.jpg"), ("_poses.mp4", "_poses.jsonl")
_RESULTS = PICTURE, PEOPLE, HEATMAPS, VIDEO, LINES = (*_IMAGES, *_VIDEOS)
# A file with the name of a drawing is one if its JSON is beside it.
_DRAWINGS = {PICTURE: PEOPLE, HEATMAPS: PEOPLE, VIDEO: LINES}


def read_input(path):
    """Reads EXAMPLE or a file as (H, W, 3) uint8 RGB; errors are those of `read_image`."""
    if path is not EXAMPLE:
        return read_image(path)
    from skimage import data  # slow to import, and rarely needed

    return data.astronaut()


def find_inputs(inputs):
    """Lists the image and video files that files, folders and patterns name, each once.

    An existing file is taken, whatever its name. A folder gives the images and videos directly in it, in order of their
    names, without hidden files and drawings of an earlier run (`NAME_poses.jpg` beside `NAME_poses.json`, ...). An
    input that does not exist and has a `*`, `?` or `[` is a pattern, in which `**` stands for any folders; the same
    files are left out. Files named directly may not exist. Raises UserError if a folder has no image or video, if a
    pattern matches none, or if none of the inputs exists.
    """
    found = [path for item in inputs for path in _files_of(str(item))]
    if not any(map(os.path.exists, found)):
        raise UserError(f"no such file or folder: {', '.join(repr(str(item)) for item in inputs)}; check the path")
    paths = {}  # by real path; a dict keeps the order
    for path in found:
        paths.setdefault(os.path.realpath(path), path)
    return list(paths.values())


def _files_of(item):
    if not item:  # an unset variable in a shell; for pathlib it is the current folder
        raise UserError("an input is empty: name an image, a video, a folder or a pattern")
    path = Path(item)
    kinds = ", ".join(IMAGE_SUFFIXES + VIDEO_SUFFIXES)
    if os.path.isdir(path):  # unlike Path's methods, os.path takes names that are too long
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
    """Sorts the paths of images and videos; leaves out hidden files and drawings."""
    return sorted(
        path
        for path in paths
        if path.suffix.lower() in IMAGE_SUFFIXES + VIDEO_SUFFIXES
        and os.path.isfile(path)
        and not path.name.startswith(".")
        and not any(
            path.name.endswith(drawing) and os.path.exists(path.with_name(path.name.removesuffix(drawing) + text))
            for drawing, text in _DRAWINGS.items()
        )
    )


def result_names(paths, output):
    """Gives each input a name for its results; all names differ, and no result overwrites an input.

    A name is the file's stem. If several files have the same stem, it is the file name with an underscore for the dot
    (a_png, a_mp4), and if that is taken, a number follows. Case is ignored, as in some file systems. Returns a str for
    each of `paths`; this module's suffixes follow it.
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
    """Real folder and name of a file in lower case; unlike os.path.realpath, this follows no link to the file."""
    return os.path.join(os.path.realpath(path.parent), path.name).casefold()
