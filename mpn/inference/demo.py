"""What `demo.py` does: finds the people in photographs, draws them and writes them down."""

import os
import subprocess
import sys
import time
from pathlib import Path

import cv2

from mpn.cli import import_tensorflow
from mpn.errors import UserError
from mpn.files import write_json
from mpn.images import IMAGE_SUFFIXES, read_image, write_image
from mpn.visualization import draw_people

_RESULT_SUFFIXES = ("_poses.jpg", "_poses.json")


def run_demo(inputs, output, model, threshold=0.3, show=False, image_size=None, precision="auto"):
    """Predicts, draws and writes the people of each image, one line a file on stderr.

    For each image `NAME.jpg`, `NAME_poses.jpg` and `NAME_poses.json` are written to the output folder: the
    drawing and {"image": file name, "width", "height", "people": list of `Person.to_json()`}. A file that
    cannot be read is reported and skipped. No input is ever overwritten.

    Args:
        inputs: paths of images, or of folders whose images are taken (not those of folders inside).
        output: folder for the results, made where needed.
        model: model directory, or anything with a `predict` as MultiPoseNet has it.
        threshold: least pose score of a person that is drawn and written.
        show: whether to show each drawing in a window too, where there is a display.
        image_size: (shorter, longer) sides in pixels to which images are scaled for the network; None takes
            the model's own. Only for a model directory.
        precision: "auto", "float32" or "bfloat16". Only for a model directory.

    Returns:
        int, the exit status: 0, or 1 where files were skipped.

    Raises:
        UserError: a folder has no images, no input exists, the output is not a folder, or the model cannot be
            loaded.
        OSError: a result cannot be written.
    """
    paths = find_images(inputs)
    output = Path(output)
    names = result_names(paths, output)
    model = _load(model, image_size, precision)
    _make_folder(output)
    window = _open_window() if show else None
    bad = 0
    for number, (path, name) in enumerate(zip(paths, names, strict=True), start=1):
        progress = f"[{number}/{len(paths)}]"
        try:
            image = read_image(path)
            start = time.perf_counter()
            people = [person for person in model.predict(image) if person.score >= threshold]
        except UserError as error:
            print(f"{progress} skipped: {error}", file=sys.stderr)
            bad += 1
            continue
        milliseconds = 1000 * (time.perf_counter() - start)
        drawing = draw_people(image, people)
        _write_results(output / name, path, drawing, people)
        found = "1 person" if len(people) == 1 else f"{len(people)} people"
        print(f"{progress} {path}: {found}, {milliseconds:.0f} ms", file=sys.stderr)
        if window and not _show(window, drawing):
            window = None
    if bad:
        print(f"{bad} of {len(paths)} files could not be used", file=sys.stderr)
    return 1 if bad else 0


def find_images(inputs):
    """The image files that the inputs mean, each once.

    A folder means its image files by suffix, in order of their names, without hidden files and drawings that
    an earlier run left there (`NAME_poses.jpg` beside a `NAME_poses.json`). Anything else is taken as a file.

    Args:
        inputs: paths of files or folders.

    Returns:
        list of Path.

    Raises:
        UserError: a folder has no image, or not one of the inputs exists.
    """
    inputs = [Path(item) for item in inputs]
    if not any(item.exists() for item in inputs):
        raise UserError(f"no such file or folder: {', '.join(repr(str(item)) for item in inputs)}")
    paths = {}  # by what they point to; a dict keeps the order
    for item in inputs:
        for path in _images_of_folder(item) if item.is_dir() else [item]:
            paths.setdefault(os.path.realpath(path), path)
    return list(paths.values())


def _images_of_folder(folder):
    images = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in IMAGE_SUFFIXES
        and path.is_file()
        and not path.name.startswith(".")
        and not (path.name.endswith("_poses.jpg") and path.with_suffix(".json").exists())
    ]
    if not images:
        kinds = ", ".join(IMAGE_SUFFIXES)
        raise UserError(f"folder '{folder}' has no images: files must end with one of {kinds}")
    return images


def result_names(paths, output):
    """A name for each image's results, such that no two share one and no result overwrites an input.

    It is the file's stem; where several files share a stem, the whole file name with an underscore for the
    dot (a_png, a_jpg); and with a number behind it where that is taken too. Case is ignored, as some file
    systems do.

    Args:
        paths: list of Path.
        output: Path, the folder of the results.

    Returns:
        list of str, parallel to `paths`; results are named with "_poses.jpg" and "_poses.json" behind it.
    """
    stems = [path.stem.casefold() for path in paths]
    taken = {_location(path) for path in paths} | {os.path.realpath(path).casefold() for path in paths}
    names = []
    for path, stem in zip(paths, stems, strict=True):
        base = path.stem if stems.count(stem) == 1 else path.name.replace(".", "_")
        name, number = base, 1
        while taken & (files := {_location(output / (name + suffix)) for suffix in _RESULT_SUFFIXES}):
            number += 1
            name = f"{base}-{number}"
        taken |= files
        names.append(name)
    return names


def _location(path):
    """The real place of a directory entry, in lower case; unlike os.path.realpath, of a link itself."""
    return os.path.join(os.path.realpath(path.parent), path.name).casefold()


def _make_folder(folder):
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"output '{folder}' is not a folder: name a folder for the results") from error


def _load(model, image_size, precision):
    """The model itself where it can predict, else the one in the model directory."""
    if hasattr(model, "predict"):
        return model
    import_tensorflow()
    from mpn import MultiPoseNet  # imports TensorFlow, which takes seconds that a wrong path should not cost

    return MultiPoseNet.load(model, image_size=image_size, precision=precision)


def _write_results(base, path, drawing, people):
    """Writes the drawing, (H, W, 3) uint8 RGB, and the people of image `path` to `base` + suffix."""
    height, width = drawing.shape[:2]
    content = {
        "image": path.name,
        "width": width,
        "height": height,
        "people": [person.to_json() for person in people],
    }
    picture, text = (base.with_name(base.name + suffix) for suffix in _RESULT_SUFFIXES)
    write_image(picture, drawing)
    write_json(text, content, indent=1)


def _open_window():
    """Title of the window to show drawings in; None, and one sentence on stderr, where there can be none."""
    title = "people: any key for the next image, q to stop showing"
    probe = f"import cv2; cv2.namedWindow({title!r}); cv2.waitKey(1); cv2.destroyAllWindows()"
    linux_without_display = sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    try:
        # In a process of its own, since OpenCV's Qt does not raise without a working display: it aborts.
        if not linux_without_display:
            subprocess.run([sys.executable, "-c", probe], capture_output=True, timeout=30, check=True)
            return title
    except (subprocess.SubprocessError, OSError):
        pass
    print("there is no display, so nothing is shown; the drawings are written all the same", file=sys.stderr)
    return None


def _show(window, drawing):
    """Shows an (H, W, 3) uint8 RGB drawing until a key is pressed; False for q, Esc or a closed window."""
    cv2.namedWindow(window, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
    cv2.imshow(window, cv2.cvtColor(drawing, cv2.COLOR_RGB2BGR))
    key = -1
    while key < 0 and cv2.getWindowProperty(window, cv2.WND_PROP_VISIBLE) >= 1:
        key = cv2.waitKey(50)  # a closed window would never end waitKey(0)
    if key >= 0 and key & 0xFF not in (ord("q"), 27):
        return True
    cv2.destroyAllWindows()
    return False
