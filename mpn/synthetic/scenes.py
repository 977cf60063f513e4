"""A small COCO-like set of drawn people, to train and test every stage without a download.

    python -m mpn.synthetic data/synthetic --train 2000 --val 200

The folder has COCO's layout, files and conventions, so whatever reads COCO reads it.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import cv2
import numpy as np

from mpn.cli.arguments import natural, positive_int
from mpn.errors import UserError
from mpn.files import atomic_path
from mpn.skeleton import KEYPOINTS, LIMBS
from mpn.synthetic.drawing import Canvas, draw_figure, visibility
from mpn.synthetic.poses import sample_figure

CATEGORY = {
    "id": 1, "name": "person", "supercategory": "person",
    "keypoints": list(KEYPOINTS), "skeleton": [[a + 1, b + 1] for a, b in LIMBS],
}  # fmt: skip
# Stands first in each JSON file, so that a real COCO folder is told from one written here without parsing it.
_DESCRIPTION = "People drawn by mpn.synthetic.scenes"
_SPLITS = ("train2017", "val2017", "test2017")
# Image ids start at a split's number times this: unique over the whole set, whatever its size.
_IDS_PER_SPLIT = 1_000_000
_CROWD_OWNER = 255
_MIN_VISIBLE_AREA = 24  # pixels; a person of whom less shows is not annotated
_MIN_IMAGE_SIDE = 32


def write_synthetic_coco(folder, train=200, val=40, test=8, image_size=(320, 240), seed=0, progress=None):
    """Writes a set in COCO's layout: {train,val,test}2017/*.jpg and annotations/*.json.

    The images come first and the JSON files last, all at once, so a run that was cut off leaves no JSON. The
    first five images of a split hold every special case: see `_scene_kind`.

    Args:
        folder: where to write; made if missing. An earlier synthetic set there is overwritten.
        train, val, test: images in each split. Test has no annotations, only `image_info_test-dev2017.json`.
        image_size: (W, H) in pixels.
        seed: int; the same arguments give the same set, and image i does not depend on the number of images.
        progress: optional function of (images done, images in all).

    Raises:
        UserError: on a size that cannot be drawn, or where the folder holds another set's annotations.
    """
    counts = (train, val, test)
    if min(counts) < 0 or max(counts) >= _IDS_PER_SPLIT:
        raise UserError(f"train, val and test are {counts}: give numbers from 0 to {_IDS_PER_SPLIT - 1}")
    if min(image_size) < _MIN_IMAGE_SIDE:
        raise UserError(f"image size is {tuple(image_size)}: give at least {_MIN_IMAGE_SIDE} pixels a side")
    width, height = image_size
    folder = Path(folder)
    files = [
        folder / "annotations" / name
        for name in (
            "person_keypoints_train2017.json", "person_keypoints_val2017.json", "image_info_test-dev2017.json"
        )
    ]  # fmt: skip
    _remove_earlier_set(files)
    contents, done = [], 0
    for number, (split, count) in enumerate(zip(_SPLITS, counts, strict=True)):
        (folder / split).mkdir(parents=True, exist_ok=True)
        content = {"info": {"description": _DESCRIPTION, "seed": seed}, "licenses": [], "images": []}
        content |= {"annotations": [], "categories": [CATEGORY]}
        for index in range(count):
            rng = np.random.default_rng([seed, number, index])
            image, annotations = _draw_scene(rng, image_size, index)
            image_id = number * _IDS_PER_SPLIT + index + 1
            name = f"{image_id:012d}.jpg"
            _write_jpeg(folder / split / name, image)
            content["images"].append(
                {"id": image_id, "file_name": name, "width": width, "height": height, "license": 0}
            )
            for annotation in annotations:
                # every third number: unique over the set, whatever the sizes of the other splits
                identity = len(content["annotations"]) * len(_SPLITS) + number + 1
                content["annotations"].append({"id": identity, "image_id": image_id, **annotation})
            done += 1
            if progress is not None:
                progress(done, sum(counts))
        if split == "test2017":
            del content["annotations"]
        contents.append(content)
    _write_json_files(dict(zip(files, contents, strict=True)))


def draw_people(rng, image_size, count, bystanders=0, crowd=False):
    """Draws one picture of people who may hide one another.

    Args:
        rng: np.random.Generator; its state decides everything.
        image_size: (W, H) in pixels.
        count: people with annotated keypoints, 25-90 % of the picture's height when they stand.
        bystanders: small people whose keypoints are not annotated.
        crowd: whether a crowd region stands behind everyone.

    Returns:
        image: (H, W, 3) uint8 RGB.
        people: list of COCO annotations without `id` and `image_id`: people from far to near, then the crowd
            region. Segmentations and boxes are of what shows, in continuous pixels; keypoints are pixel
            indices. A person of whom almost nothing shows is left out.
    """
    width, height = image_size
    canvas = Canvas(_background(rng, width, height))
    if crowd:
        _draw_crowd(rng, canvas)
    shares = np.exp(rng.uniform(np.log(0.25), np.log(0.9 if count < 4 else 0.65), count))
    cast = [(share * height, True) for share in shares]
    cast += [(share * height, False) for share in rng.uniform(0.12, 0.24, bystanders)]
    cast.sort(key=lambda entry: entry[0])  # smaller is farther
    drawn, middles = [], []
    for owner, (size, labelled) in enumerate(cast, start=1):
        figure = sample_figure(rng)
        near = middles[rng.integers(len(middles))] if middles and rng.random() < 0.55 else None
        origin = _place(rng, figure, size, width, height, near)
        middles.append(origin)
        draw_figure(canvas, figure, origin, size, owner)
        drawn.append((figure, origin, size, owner, labelled))
    people = []
    for figure, origin, size, owner, labelled in drawn:
        mask = canvas.labels[..., 0] == owner
        if np.count_nonzero(mask) >= _MIN_VISIBLE_AREA:
            keypoints = visibility(canvas, figure, origin, size, owner)
            people.append(_person_annotation(mask, keypoints if labelled else np.zeros_like(keypoints)))
    if crowd:
        people += _crowd_annotations(canvas)
    return _finish(rng, canvas.image), people


def _scene_kind(rng, index):
    """What image `index` of a split shows besides people.

    Images 1 to 4 are fixed so that the smallest set has every special case: 1 (and 50) a person without
    segmentation, 2 people without keypoints, 3 nobody, 4 a crowd region.
    """
    fixed = {1: "no segmentation", 50: "no segmentation", 2: "no keypoints", 3: "nobody", 4: "crowd"}
    drawn = rng.choice(["plain", "no keypoints", "nobody", "crowd"], p=[0.66, 0.21, 0.04, 0.09])
    return fixed.get(index, str(drawn))


def _draw_scene(rng, image_size, index):
    """Image `index` of a split, as `draw_people` returns it."""
    kind = _scene_kind(rng, index)
    count = int(rng.choice([1, 2, 3, 4, 5], p=[0.34, 0.27, 0.18, 0.12, 0.09]))
    if kind == "nobody":
        return draw_people(rng, image_size, 0)
    bystanders = int(rng.integers(1, 4)) if kind == "no keypoints" else 0
    image, people = draw_people(rng, image_size, count, bystanders, crowd=kind == "crowd")
    if kind == "no segmentation":
        nearest = [person for person in people if person["num_keypoints"]][-1:]
        for person in nearest:
            person["segmentation"] = []
    return image, people


def _place(rng, figure, size, width, height, near):
    """(x, y) in pixels for a figure's hips: mostly all of it in the picture, by `near` (x, y) if given."""
    x1, y1, x2, y2 = np.array(figure.extent()) * size
    low, high = np.array([-x1, -y1]), np.array([width - x2, height - y2])
    if rng.random() < 0.25:  # let the border cut through the figure
        slack = 0.35 * np.array([x2 - x1, y2 - y1])
        low, high = low - slack, high + slack
    origin = rng.uniform(np.minimum(low, high), np.maximum(low, high))
    if near is not None:
        beside = near + rng.normal(0, [0.25, 0.15]) * size
        origin = np.clip(beside, np.minimum(low, high), np.maximum(low, high))
    return origin


def _draw_crowd(rng, canvas):
    """A group of small figures, all of them owned by _CROWD_OWNER."""
    height, width = canvas.image.shape[:2]
    members = rng.integers(8, 15)
    size = rng.uniform(0.13, 0.22) * height
    middle = rng.uniform([0.25 * width, 0.2 * height], [0.75 * width, 0.7 * height])
    spread = np.array([0.16 * size * members / 2, 0.12 * size])
    for origin in sorted(middle + rng.uniform(-spread, spread, (members, 2)), key=lambda point: point[1]):
        figure = sample_figure(rng, lying=False)
        draw_figure(canvas, figure, origin, size * rng.uniform(0.85, 1.15), _CROWD_OWNER)


def _background(rng, width, height):
    """(H, W, 3) uint8: a gradient or soft noise, with stripes, blocks, discs and limb-like strokes on it."""
    corners = rng.uniform(20, 235, (2, 2, 3))
    corners += (corners.mean(2, keepdims=True) - corners) * rng.uniform(0, 0.9)
    if rng.random() < 0.5:
        corners = corners.mean((0, 1)) + rng.normal(0, 35, (*rng.integers(3, 24, 2), 3))
    image = cv2.resize(corners.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    image = np.ascontiguousarray(image.clip(0, 255).astype(np.uint8))
    size = np.array([width, height])
    if rng.random() < 0.3:
        step, slope = int(rng.integers(6, 40)), rng.uniform(-1, 1) * height
        colour = _random_colour(rng)
        for x in range(-height, width + height, step):
            cv2.line(image, (x, 0), (int(x + slope), height), colour, int(rng.integers(1, step // 3 + 2)))
    for shape in rng.choice(["block", "disc", "stroke"], rng.integers(0, 14)):
        middle, extent = rng.uniform(0, size), rng.uniform(0.02, 0.2, 2) * height
        a, b = (middle - extent).astype(int).tolist(), (middle + extent).astype(int).tolist()
        colour = _random_colour(rng)
        if shape == "block":
            cv2.rectangle(image, a, b, colour, -1)
        elif shape == "disc":
            middle, axes = middle.astype(int).tolist(), extent.astype(int).tolist()
            cv2.ellipse(image, middle, axes, rng.uniform(0, 180), 0, 360, colour, -1)
        else:
            cv2.line(image, a, [b[0], int(rng.uniform(0, height))], colour, int(rng.integers(1, 14)))
    return image


def _finish(rng, image):
    """The picture with a random exposure, sometimes out of focus, and sensor noise."""
    if rng.random() < 0.25:
        image = cv2.GaussianBlur(image, (3, 3), 0)
    image = cv2.convertScaleAbs(image, alpha=rng.uniform(0.75, 1.1), beta=rng.uniform(0, 15))
    amount = int(rng.integers(1, 14))
    noise = rng.integers(0, 2 * amount, image.shape, np.uint8)
    return cv2.subtract(cv2.add(image, noise), np.full_like(image, amount))


def _random_colour(rng):
    return rng.integers(10, 246, 3).tolist()


def _person_annotation(mask, keypoints):
    """COCO's annotation of one person: mask (H, W) bool of what shows, keypoints (17, 3) int."""
    return {
        "category_id": 1,
        "iscrowd": 0,
        "segmentation": mask_to_polygons(mask),
        "area": float(np.count_nonzero(mask)),
        "bbox": _mask_box(mask),
        "keypoints": keypoints.ravel().tolist(),
        "num_keypoints": int(np.count_nonzero(keypoints[:, 2])),
    }


def _crowd_annotations(canvas):
    """A list of the crowd region's annotation, empty where the people in front hide all of it."""
    owners = canvas.labels[..., 0]
    # annotators paint a crowd as one region, the gaps between its people included
    kernel = np.ones((max(3, canvas.image.shape[0] // 24),) * 2, np.uint8)
    region = cv2.morphologyEx((owners == _CROWD_OWNER).astype(np.uint8), cv2.MORPH_CLOSE, kernel) > 0
    region &= (owners == _CROWD_OWNER) | (owners == 0)
    if np.count_nonzero(region) < _MIN_VISIBLE_AREA:
        return []
    annotation = _person_annotation(region, np.zeros((len(KEYPOINTS), 3), int))
    return [annotation | {"iscrowd": 1, "segmentation": mask_to_rle(region)}]


def _mask_box(mask):
    """[x, y, w, h] floats around the pixels of a mask (H, W) bool that are set."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    x, y = columns[0], rows[0]
    return [float(x), float(y), float(columns[-1] + 1 - x), float(rows[-1] + 1 - y)]


def mask_to_rle(mask):
    """COCO's uncompressed run lengths of a mask (H, W) bool: column by column, a run of zeros first."""
    flat = np.concatenate([[False], mask.ravel(order="F")])
    starts = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(np.concatenate([[0], starts, [mask.size]]))
    return {"size": list(mask.shape), "counts": counts.tolist()}


def mask_to_polygons(mask):
    """COCO polygons of a mask.

    Args:
        mask: (H, W) bool.

    Returns:
        list of flat lists x0, y0, x1, y1, ... in continuous pixels, within about 0.5 px of the mask's
        outline. COCO's polygons have no holes, so a part with a hole is cut in two through it.
    """
    x, y, w, h = (int(value) for value in _mask_box(mask))
    # Twice as large, the centres of the border pixels, which cv2 returns, enclose the small pixels' centres.
    large = np.repeat(np.repeat(mask[y : y + h, x : x + w].astype(np.uint8), 2, 0), 2, 1)
    return [((contour + 0.5) / 2 + [x, y]).round(2).ravel().tolist() for contour in _contours(large)]


def _contours(mask):
    """Outlines, (n, 2) int arrays of x, y, of a doubled (h, w) uint8 mask, cut until no hole is left."""
    contours, hierarchy = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    is_hole = hierarchy[0, :, 3] >= 0
    holes = [c for c, hole in zip(contours, is_hole, strict=True) if hole]
    holes = [hole for hole in holes if cv2.contourArea(hole) > 12]  # smaller ones are not worth a cut
    if holes:
        columns = holes[0][:, 0, 0]
        cut = int(columns.min() + columns.max() + 1) // 4 * 2  # between pixels: an odd column would halve one
        left, right = mask.copy(), mask.copy()
        left[:, cut:], right[:, :cut] = 0, 0
        return _contours(left) + _contours(right)
    outlines = [c for c, hole in zip(contours, is_hole, strict=True) if not hole]
    simple = [cv2.approxPolyDP(outline, 0.7, True) for outline in outlines]
    # a speck may collapse to a line, which is no polygon
    chosen = [s if len(s) > 3 else outline for s, outline in zip(simple, outlines, strict=True)]
    return [outline[:, 0] for outline in chosen if len(outline) > 2]


def _write_jpeg(path, image):
    ok, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 92])
    if not ok:
        raise RuntimeError(f"cv2 could not encode {path}")
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.tobytes())


def _remove_earlier_set(files):
    """Removes JSON files that this module wrote before; refuses to touch others."""
    for path in files:
        if path.exists():
            with open(path, encoding="utf-8", errors="replace") as file:
                if _DESCRIPTION not in file.read(200):
                    raise UserError(f"{path} was not written by mpn.synthetic.scenes: give another folder")
    for path in files:
        path.unlink(missing_ok=True)


def _write_json_files(contents):
    """Writes {path: content} and gives the files their names only when all are complete."""
    temporary = {path: path.with_name(path.name + ".part") for path in contents}
    try:
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary[path].write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")
        for path in contents:
            os.replace(temporary[path], path)
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)


def _show_progress(done, total):
    if done % 20 == 0 or done == total:
        print(f"\r{done}/{total} images", end="\n" if done == total else "", file=sys.stderr, flush=True)


def main(argv=None):
    """The command; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m mpn.synthetic", description="Writes a COCO-like set of drawn people."
    )
    parser.add_argument("folder", help="where to write")
    parser.add_argument("--train", type=natural, default=200, help="training images (default: %(default)s)")
    parser.add_argument("--val", type=natural, default=40, help="validation images (default: %(default)s)")
    parser.add_argument("--test", type=natural, default=8, help="test images (default: %(default)s)")
    parser.add_argument(
        "--image-size", type=positive_int, nargs=2, default=(320, 240), metavar=("W", "H"), help="default: 320 240"
    )
    parser.add_argument("--seed", type=natural, default=0, help="what to draw (default: %(default)s)")
    options = parser.parse_args(argv)
    sizes = options.train, options.val, options.test
    write_synthetic_coco(options.folder, *sizes, options.image_size, options.seed, _show_progress)
