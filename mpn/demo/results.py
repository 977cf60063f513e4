"""Writes the demo's files for one image or one video."""

import json
import time

from tqdm import tqdm

from mpn.demo.drawing import LAYERS, SteadyColours, draw_people
from mpn.demo.heatmap_sheet import draw_heatmaps
from mpn.demo.inputs import HEATMAPS, LINES, PEOPLE, PICTURE, VIDEO
from mpn.files import atomic_path, write_json
from mpn.images import write_image
from mpn.videos import VideoReader, VideoWriter


def write_people(image, file_name, base, people, rle=False, layers=LAYERS):
    """Writes the drawing of an (H, W, 3) uint8 RGB image, and its people.

    `BASE_poses.json` has "image" (`file_name`, without its folder), "width" and "height" of the upright image in
    pixels, and "people", a list of `Person.to_json`, best first. `BASE_poses.jpg` shows `layers` of the people, see
    `draw_people`. `base` is the Path of the results without their suffixes. Returns the drawing, uint8 RGB.
    """
    drawing = draw_people(image, people, layers=layers)
    height, width = image.shape[:2]
    found = [person.to_json(rle) for person in people]
    write_image(result_path(base, PICTURE), drawing)
    content = {"image": file_name, "width": width, "height": height, "people": found}
    write_json(result_path(base, PEOPLE), content, indent=1)
    return drawing


def annotate_image(image, file_name, base, find_people, find_heatmaps=None, rle=False):
    """Finds the people of an image and writes the files of `write_people` and, if wanted, its heatmaps.

    `find_people` gives a list of Person for an image, and `find_heatmaps` (h, w, 18) float for `BASE_heatmaps.jpg`.
    Returns the drawing, uint8 RGB, and a str that says what was found.
    """
    start = time.perf_counter()
    people = find_people(image)
    milliseconds = 1000 * (time.perf_counter() - start)
    drawing = write_people(image, file_name, base, people, rle)
    if find_heatmaps:
        write_image(result_path(base, HEATMAPS), draw_heatmaps(image, find_heatmaps(image)))
    return drawing, f"{counted(people)}, {milliseconds:.0f} ms"


def counted(people):
    """A number of people in words."""
    return "1 person" if len(people) == 1 else f"{len(people)} people"


def annotate_video(path, base, find_people, rle=False, window=None, title=None):
    """Writes a video of a video's frames with the people drawn in, and their JSON.

    `BASE_poses.mp4` has the frames, size and rate of the video, but no sound; see `VideoWriter` for odd sizes. Each
    line of `BASE_poses.jsonl` is a JSON object for one frame: "frame", its index from 0; "time", seconds from the
    video's start, rounded to 0.0001; and "people" as in `annotate_image`, in pixels of the frame. Both files appear
    when they are complete.

    `window` shows the drawings, and `title` stands before the progress bar on stderr. Returns a str that says what was
    done, even if reading failed before the end or frames could not be decoded. Raises UserError if the video cannot be
    read or is too large to be written, OSError if a file cannot be written.
    """
    start = time.perf_counter()
    colours = SteadyColours()
    done = 0
    with (
        VideoReader(path) as video,
        atomic_path(result_path(base, VIDEO)) as film_path,
        atomic_path(result_path(base, LINES)) as lines_path,
        VideoWriter(film_path, video.size, video.rate) as film,
        open(lines_path, "w", encoding="utf-8") as lines,
        tqdm(total=video.announced, desc=title, unit="image", leave=False) as progress,
    ):
        for frame, seconds in video:
            people = find_people(frame)
            line = {"frame": done, "time": round(seconds, 4), "people": [person.to_json(rle) for person in people]}
            lines.write(json.dumps(line, allow_nan=False) + "\n")
            drawing = draw_people(frame, people, colours=colours.of(people))
            film.write(drawing, seconds)
            if window:
                window.show(drawing)
            done += 1
            progress.update()
    report = f"{'1 frame' if done == 1 else f'{done} frames'}, {done / (time.perf_counter() - start):.1f} images/s"
    return f"{report}; {video.problem}" if video.problem else report


def result_path(base, suffix):
    """The path of a result; suffixes are those of `mpn.demo.inputs`."""
    return base.with_name(base.name + suffix)
