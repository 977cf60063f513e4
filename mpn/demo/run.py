"""What `demo.py` does: finds the people in photographs and videos, draws them and writes them down."""

import errno
import functools
import sys
from pathlib import Path

import av
import cv2

from mpn.cli.arguments import LEAST_POSE_SCORE
from mpn.cli.script import import_tensorflow, in_words
from mpn.demo.inputs import EXAMPLE, example_image, find_inputs, result_names
from mpn.demo.results import annotate_image, annotate_video
from mpn.demo.video import is_video
from mpn.demo.window import open_window
from mpn.deployment.folder import is_export
from mpn.errors import UserError
from mpn.files import make_writable
from mpn.images import read_image

# What can be wrong with one file, its results' names included, and not with the next.
_ABOUT_ONE_FILE = (UserError, OSError, cv2.error, av.FFmpegError, ValueError, MemoryError)
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


def run_demo(
    inputs,
    output,
    model,
    threshold=LEAST_POSE_SCORE,
    show=False,
    image_size=None,
    precision="auto",
    fields=False,
    rle=False,
    scales=(1.0,),
    mirror=False,
    crops=1,
    refine=None,
    refine_videos=True,
):
    """Predicts, draws and writes the people of images and videos, one line a file on stderr.

    The output folder gets `NAME_poses.jpg` and `NAME_poses.json` for each image NAME, with `fields` also
    `NAME_fields.jpg`, and `NAME_poses.mp4` and `NAME_poses.jsonl` for each video; see `mpn.demo.results`. A
    file that cannot be read, or whose results cannot be written, is reported and skipped. No input is ever overwritten.

    Args:
        inputs: images, videos, folders or patterns, see `find_inputs`; where empty, the photograph that scikit-image
            ships.
        output: folder for the results, made where needed.
        model: model directory, or anything with a `predict` (for `fields` also `heatmaps`) as MultiPoseNet has it.
        threshold: least pose score of a person that is drawn and written.
        show: whether to show each drawing in a window too, where there is a display.
        image_size: (shorter, longer) sides in pixels to which images are scaled for the network; None takes
            the model's own. Only for a model directory.
        precision: "auto", "float32" or "bfloat16". Only for a model directory.
        fields: whether to draw each image's heatmaps on a sheet; not for videos.
        rle: whether to write silhouettes as COCO's compressed RLE too.
        scales, mirror, crops: test-time augmentation, see `MultiPoseNet`. Only for a model directory.
        refine: directory of a refinement network that looks at each person again, or None.
        refine_videos: whether it looks at videos too, frame by frame.

    Returns:
        int, the exit status: 0, or 1 where files were skipped.

    Raises:
        UserError: a folder or pattern has no images or videos, no input exists, there are videos beside `fields`, the
            output is not a folder, or the model cannot be loaded.
        OSError: the output folder cannot be written to, or the disk is full.
    """
    if inputs:
        paths, read = find_inputs(inputs), read_image
    else:
        paths, read = [EXAMPLE], lambda path: example_image()
    if fields:
        _refuse_videos(paths)
    output = Path(output)
    names = result_names(paths, output)
    views = {"scales": scales, "mirror": mirror, "crops": crops}
    model = load_model(model, image_size=image_size, precision=precision, **views)
    finer = load_refined(model, refine, threshold, precision, mirror)
    _make_folder(output)
    window = _open_window() if show else None

    def find_people(image, predictor=finer):
        return [person for person in predictor.predict(image) if person.score >= threshold]

    find_in_frame = functools.partial(find_people, predictor=finer if refine_videos else model)

    bad = 0
    for number, (path, name) in enumerate(zip(paths, names, strict=True), start=1):
        title, base, drawing = f"[{number}/{len(paths)}]", output / name, None
        try:
            if is_video(path):
                report = annotate_video(path, base, find_in_frame, rle, window, _printable(f"{title} {path.name}"))
            else:
                heatmaps = model.heatmaps if fields else None
                drawing, report = annotate_image(read(path), _printable(path.name), base, find_people, heatmaps, rle)
        except _ABOUT_ONE_FILE as error:
            if isinstance(error, OSError) and error.errno in _FULL_DISK:
                raise
            _say(f"{title} skipped: {_reason(path, error)}")
            bad += 1
        else:
            _say(f"{title} {path}: {report}")
            if window and drawing is not None:
                window.show(drawing, wait=True)
    if bad:
        _say(f"{bad} of {len(paths)} files could not be used")
    return 1 if bad else 0


def _printable(text):
    """The same text, where names of files that are no text have \\udcNN for their odd bytes."""
    return str(text).encode(errors="backslashreplace").decode()


def _say(line):
    print(_printable(line), file=sys.stderr)


def _reason(path, error):
    """Why a file is skipped: a sentence that names it."""
    if isinstance(error, UserError):
        return str(error)
    words = "it needs more memory than there is" if isinstance(error, MemoryError) else in_words(error)
    return f"'{path}': {' '.join(words.split())}"


def load_model(model, **options):
    """The model itself where it can predict, else the MultiPoseNet in the model directory, loaded with the options.

    Args:
        model: see `run_demo`.
        options: see `MultiPoseNet.load`.
    """
    if hasattr(model, "predict"):
        return model
    if not is_export(model):
        import_tensorflow()
    from mpn import MultiPoseNet

    return MultiPoseNet.load(model, **options)


def load_refined(model, refine, threshold, precision="auto", mirror=False):
    """The model itself, or with a refinement network that looks again at everybody whose pose scores enough.

    Args:
        model: anything with a `predict` as MultiPoseNet has it.
        refine: directory of the refinement network, or None.
        threshold: least pose score of people who are looked at again; others are left out.
        precision, mirror: see `mpn.inference.refiner.Refiner`.
    """
    if refine is None:
        return model
    from mpn.inference.refiner import refined

    return refined(model, refine, precision, mirror, threshold)


def _refuse_videos(paths):
    for path in paths:
        if is_video(path):
            raise UserError(f"--fields is for images, and '{path}' is a video: leave out one of the two")


def _make_folder(folder):
    try:
        make_writable(folder)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"output '{folder}' is not a folder: name a folder for the results") from error


def _open_window():
    """A Window for drawings; None, and one sentence on stderr, where there can be none."""
    window = open_window("people: any key for the next image, q to stop showing")
    if window is None:
        _say("there is no display, so nothing is shown; the drawings are written all the same")
    return window
