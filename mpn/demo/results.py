"""The files that the demo writes for one image or one video."""

import json
import time

from tqdm import tqdm

from mpn.demo.drawing import draw_people
from mpn.demo.heatmap_sheet import draw_fields
from mpn.demo.inputs import FIELDS, LINES, PEOPLE, PICTURE, VIDEO
from mpn.demo.steady_colours import SteadyColours
from mpn.demo.video import VideoReader, VideoWriter
from mpn.files import atomic_path, write_json
from mpn.images import write_image


def annotate_image(image, file_name, base, find_people, heatmaps=None, rle=False):
    """Writes the drawing of an image, its people and, where wanted, its heatmaps.

    `BASE_poses.json` holds
        image: the image file's name, without its folder.
        width, height: of the image in pixels, upright as the drawing is.
        people: list of `Person.to_json`, best first; empty where there is nobody.

    Args:
        image: (H, W, 3) uint8 RGB.
        file_name: of the image, without its folder.
        base: Path, the results' place and name without their suffixes.
        find_people: function of an image giving a list of Person.
        heatmaps: function of an image giving (h, w, 18) float for `BASE_fields.jpg`; None writes no such file.
        rle: whether people have their silhouettes with them, see `Person.to_json`.

    Returns:
        drawing: (H, W, 3) uint8 RGB.
        report: str, what was found.

    Raises:
        UserError: the model refuses the image.
        OSError: a file cannot be written.
    """
    start = time.perf_counter()
    people = find_people(image)
    milliseconds = 1000 * (time.perf_counter() - start)
    drawing = draw_people(image, people)
    height, width = image.shape[:2]
    content = {
        "image": file_name,
        "width": width,
        "height": height,
        "people": [person.to_json(rle) for person in people],
    }
    write_image(_result(base, PICTURE), drawing)
    write_json(_result(base, PEOPLE), content, indent=1)
    if heatmaps:
        write_image(_result(base, FIELDS), draw_fields(image, heatmaps(image)))
    return drawing, f"{'1 person' if len(people) == 1 else f'{len(people)} people'}, {milliseconds:.0f} ms"


def annotate_video(path, base, find_people, rle=False, window=None, title=None):
    """Writes the drawings of a video's frames as a video, and its people.

    `BASE_poses.mp4` has the frames, the size and the rate of the video, but no sound; see `VideoWriter` for odd sizes.
    Each line of `BASE_poses.jsonl` is a JSON object of one frame:
        frame: its index, from 0.
        time: seconds from the video's start, as the file says, rounded to 0.0001.
        people: list of `Person.to_json`, best first; coordinates are pixels of the frame.

    Frames are read, drawn and written one at a time. Both files appear when they are complete.

    Args:
        path: the video file.
        base, find_people, rle: as for `annotate_image`.
        window: Window to show the drawings in as they come, or None.
        title: what stands before the progress on stderr.

    Returns:
        str, what was done; it says so where the video could not be read to its end or frames could not be decoded.

    Raises:
        UserError: the video cannot be read, or is too large to be written.
        OSError: a file cannot be written.
    """
    start = time.perf_counter()
    colours = SteadyColours()
    done = 0
    with (
        VideoReader(path) as video,
        atomic_path(_result(base, VIDEO)) as film_path,
        atomic_path(_result(base, LINES)) as lines_path,
        VideoWriter(film_path, video.size, video.rate) as film,
        open(lines_path, "w", encoding="utf-8") as lines,
        tqdm(total=video.announced, desc=title, unit="image", leave=False) as progress,
    ):
        for frame, seconds in video:
            people = find_people(frame)
            line = {
                "frame": done,
                "time": round(seconds, 4),
                "people": [person.to_json(rle) for person in people],
            }
            lines.write(json.dumps(line, allow_nan=False) + "\n")
            drawing = draw_people(frame, people, colours=colours.of(people))
            film.write(drawing, seconds)
            if window:
                window.show(drawing)
            done += 1
            progress.update()
    report = f"{'1 frame' if done == 1 else f'{done} frames'}, {done / (time.perf_counter() - start):.1f} images/s"
    if video.breaks_off:
        report += f"; reading failed after {done} frames, and what was read is kept"
    elif video.lost:
        report += f"; {video.lost} frames could not be decoded and are left out"
    return report


def _result(base, suffix):
    return base.with_name(base.name + suffix)
