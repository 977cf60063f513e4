"""A set of drawn people in COCO's layout, to train and test every stage without a download."""

from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from mpn.errors import UserError
from mpn.files import atomic_path, write_json
from mpn.skeleton import KEYPOINTS, LIMBS
from mpn.synthetic.drawing import Canvas, draw_figure, visibility
from mpn.synthetic.poses import sample_figure

CATEGORY = {
    "id": 1, "name": "person", "supercategory": "person",
    "keypoints": list(KEYPOINTS), "skeleton": [[a + 1, b + 1] for a, b in LIMBS],
}  # fmt: skip
# The first entry of each JSON file; a file without it belongs to another set and is not overwritten.
_DESCRIPTION = "People drawn by mpn.synthetic.scenes"
_FILES = {
    "train2017": "person_keypoints_train2017.json",
    "val2017": "person_keypoints_val2017.json",
    "test2017": "image_info_test-dev2017.json",
}
# The image ids of split number n start at n times this.
_IDS_PER_SPLIT = 1_000_000
_CROWD_OWNER = 255
_MIN_VISIBLE_AREA = 24  # pixels; a person with a smaller visible area is not annotated
_MIN_IMAGE_SIDE = 32


def write_synthetic_coco(folder, train=200, val=40, test=8, image_size=(320, 240), seed=0, progress=False):
    """Writes {train,val,test}2017/*.jpg and annotations/*.json into `folder`, over an earlier synthetic set.

    `train`, `val` and `test` are numbers of images; `image_size` is (W, H) in pixels. Equal arguments give equal sets,
    and an image does not depend on the number of images. The first five images of a split cover every special case, see
    `_draw_scene`. The JSON files are written last, so an interrupted run leaves none. Raises UserError for impossible
    numbers and sizes, and where the folder holds annotations of another set.
    """
    counts = (train, val, test)
    if min(counts) < 0 or max(counts) >= _IDS_PER_SPLIT:
        raise UserError(f"train, val and test are {counts}: give numbers from 0 to {_IDS_PER_SPLIT - 1}")
    if min(image_size) < _MIN_IMAGE_SIDE:
        raise UserError(f"image size is {tuple(image_size)}: give at least {_MIN_IMAGE_SIDE} pixels a side")
    folder = Path(folder)
    _remove_earlier_set(folder)
    contents = {}
    with tqdm(total=sum(counts), unit="image", disable=not progress) as bar:
        for number, (split, count) in enumerate(zip(_FILES, counts, strict=True)):
            (folder / split).mkdir(parents=True, exist_ok=True)
            content = {"info": {"description": _DESCRIPTION, "seed": seed}, "licenses": [], "images": []}
            content |= {"annotations": [], "categories": [CATEGORY]}
            for index in range(count):
                image, annotations = _draw_scene(np.random.default_rng([seed, number, index]), image_size, index)
                image_id = number * _IDS_PER_SPLIT + index + 1
                name = f"{image_id:012d}.jpg"
                bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
                with atomic_path(folder / split / name) as temporary:
                    temporary.write_bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 92])[1])
                size = {"width": image_size[0], "height": image_size[1]}
                content["images"].append({"id": image_id, "file_name": name, **size, "license": 0})
                for annotation in annotations:
                    # Each split takes every third number, so ids are unique over all splits.
                    identity = len(content["annotations"]) * len(_FILES) + number + 1
                    content["annotations"].append({"id": identity, "image_id": image_id, **annotation})
                bar.update()
            contents[split] = content
    del contents["test2017"]["annotations"]
    (folder / "annotations").mkdir(exist_ok=True)
    for split, content in contents.items():
        write_json(folder / "annotations" / _FILES[split], content)


def draw_people(rng, image_size, count, bystanders=0, crowd=False):
    """Draws one picture of people who may hide one another; `rng`, a np.random.Generator, decides everything.

    `image_size` is (W, H) in pixels. `count` people have annotated keypoints and standing heights of 25-90 % of the
    picture's; `bystanders` are small and have none. If `crowd`, a crowd stands behind everyone.

    Returns the image, (H, W, 3) uint8 RGB, and a list of COCO annotations without `id` and `image_id`: people from far
    to near, then the crowd region. Segmentations and boxes, in continuous pixels, cover the visible part of a person;
    keypoints are pixel indices. Almost hidden people are left out.
    """
    width, height = image_size
    canvas = Canvas(_background(rng, width, height))
    if crowd:
        _draw_crowd(rng, canvas)
    shares = np.exp(rng.uniform(np.log(0.25), np.log(0.9 if count < 4 else 0.65), count))
    cast = [(share * height, True) for share in shares]
    cast += [(share * height, False) for share in rng.uniform(0.12, 0.24, bystanders)]
    cast.sort(key=lambda entry: entry[0])  # smaller is farther
    drawn = []
    for owner, (size, labelled) in enumerate(cast, start=1):
        figure = sample_figure(rng)
        near = drawn[rng.integers(len(drawn))][1] if drawn and rng.random() < 0.55 else None
        origin = _place(rng, figure, size, image_size, near)
        draw_figure(canvas, figure, origin, size, owner)
        drawn.append((figure, origin, size, owner, labelled))
    people = []
    for *person, labelled in drawn:
        mask = canvas.labels[..., 0] == person[-1]
        if np.count_nonzero(mask) >= _MIN_VISIBLE_AREA:
            people.append(_person_annotation(mask, visibility(canvas, *person) * labelled))
    if crowd:
        people += _crowd_annotations(canvas)
    return _finish(rng, canvas.image), people


def _draw_scene(rng, image_size, index):
    """Draws image `index` of a split and returns `draw_people`'s results.

    From 0, images 1 and 50 have a person without segmentation, image 2 people without keypoints, image 3 nobody, and
    image 4 a crowd region. The others are of a random kind.
    """
    fixed = {1: "no segmentation", 50: "no segmentation", 2: "no keypoints", 3: "nobody", 4: "crowd"}
    drawn = rng.choice(["plain", "no keypoints", "nobody", "crowd"], p=[0.66, 0.21, 0.04, 0.09])
    kind = fixed.get(index, str(drawn))
    count = int(rng.choice([1, 2, 3, 4, 5], p=[0.34, 0.27, 0.18, 0.12, 0.09]))
    if kind == "nobody":
        return draw_people(rng, image_size, 0)
    bystanders = int(rng.integers(1, 4)) if kind == "no keypoints" else 0
    image, people = draw_people(rng, image_size, count, bystanders, crowd=kind == "crowd")
    if kind == "no segmentation":
        for nearest in [person for person in people if person["num_keypoints"]][-1:]:
            nearest["segmentation"] = []
    return image, people


def _place(rng, figure, size, image_size, near):
    """Samples the (x, y) of a figure's hips, close to `near` if given; most figures fit in the picture."""
    x1, y1, x2, y2 = np.array(figure.extent()) * size
    low, high = np.array([-x1, -y1]), np.array(image_size) - [x2, y2]
    if rng.random() < 0.25:  # the border may cut through the figure
        slack = 0.35 * np.array([x2 - x1, y2 - y1])
        low, high = low - slack, high + slack
    low, high = np.minimum(low, high), np.maximum(low, high)
    origin = rng.uniform(low, high)
    return origin if near is None else np.clip(near + rng.normal(0, [0.25, 0.15]) * size, low, high)


def _draw_crowd(rng, canvas):
    height, width = canvas.image.shape[:2]
    members = rng.integers(8, 15)
    size = rng.uniform(0.13, 0.22) * height
    middle = rng.uniform([0.25 * width, 0.2 * height], [0.75 * width, 0.7 * height])
    spread = np.array([0.16 * size * members / 2, 0.12 * size])
    for origin in sorted(middle + rng.uniform(-spread, spread, (members, 2)), key=lambda point: point[1]):
        figure = sample_figure(rng, lying=False)
        draw_figure(canvas, figure, origin, size * rng.uniform(0.85, 1.15), _CROWD_OWNER)


def _background(rng, width, height):
    """Draws a gradient or soft noise, with stripes, blocks, discs and limb-like strokes on it."""
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
    """Gives a picture a random exposure, sensor noise, and sometimes blur."""
    if rng.random() < 0.25:
        image = cv2.GaussianBlur(image, (3, 3), 0)
    image = cv2.convertScaleAbs(image, alpha=rng.uniform(0.75, 1.1), beta=rng.uniform(0, 15))
    amount = int(rng.integers(1, 14))
    noise = rng.integers(0, 2 * amount, image.shape, np.uint8)
    return cv2.subtract(cv2.add(image, noise), np.full_like(image, amount))


def _random_colour(rng):
    return rng.integers(10, 246, 3).tolist()


def _person_annotation(mask, keypoints):
    """COCO's annotation of a person with the visible pixels `mask` (H, W) bool and keypoints (17, 3) int."""
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
    """Returns a list with the crowd region's annotation, or an empty list where people hide it."""
    owners = canvas.labels[..., 0]
    # COCO's annotators paint a crowd as one region, with the gaps between its people.
    kernel = np.ones((max(3, canvas.image.shape[0] // 24),) * 2, np.uint8)
    region = cv2.morphologyEx((owners == _CROWD_OWNER).astype(np.uint8), cv2.MORPH_CLOSE, kernel) > 0
    region &= (owners == _CROWD_OWNER) | (owners == 0)
    if np.count_nonzero(region) < _MIN_VISIBLE_AREA:
        return []
    annotation = _person_annotation(region, np.zeros((len(KEYPOINTS), 3), int))
    return [annotation | {"iscrowd": 1, "segmentation": mask_to_rle(region)}]


def _mask_box(mask):
    """COCO's [x, y, w, h] of a mask (H, W) bool."""
    return [float(value) for value in cv2.boundingRect(mask.astype(np.uint8))]


def mask_to_rle(mask):
    """Returns COCO's uncompressed run lengths of a mask (H, W) bool: column by column, a run of zeros first."""
    starts = np.flatnonzero(np.diff(mask.ravel(order="F"), prepend=False))
    return {"size": list(mask.shape), "counts": np.diff(starts, prepend=0, append=mask.size).tolist()}


def mask_to_polygons(mask):
    """Returns COCO's polygons of a mask (H, W) bool: lists x0, y0, x1, y1, ... in continuous pixels.

    They are within about 0.5 px of the mask's outline. COCO's polygons have no holes, so a part with a hole is cut in
    two through the hole.
    """
    x, y, w, h = (int(value) for value in _mask_box(mask))
    # cv2 returns the centres of border pixels. In the doubled mask, these enclose the centres of the mask's pixels.
    large = np.repeat(np.repeat(mask[y : y + h, x : x + w].astype(np.uint8), 2, 0), 2, 1)
    return [((contour + 0.5) / 2 + [x, y]).round(2).ravel().tolist() for contour in _contours(large)]


def _contours(mask):
    """Outlines, (n, 2) x and y each, of a doubled uint8 mask, which is cut until it has no hole."""
    contours, hierarchy = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    is_hole = hierarchy[0, :, 3] >= 0
    holes = [c for c, hole in zip(contours, is_hole, strict=True) if hole and cv2.contourArea(c) > 12]
    if holes:
        columns = holes[0][:, 0, 0]
        cut = int(columns.min() + columns.max() + 1) // 4 * 2  # even: between two pixels of the mask
        left, right = mask.copy(), mask.copy()
        left[:, cut:], right[:, :cut] = 0, 0
        return _contours(left) + _contours(right)
    outlines = [c for c, hole in zip(contours, is_hole, strict=True) if not hole]
    simple = [cv2.approxPolyDP(outline, 0.7, True) for outline in outlines]
    # A tiny part may simplify to a line, which is not a polygon.
    chosen = [s if len(s) > 3 else outline for s, outline in zip(simple, outlines, strict=True)]
    return [outline[:, 0] for outline in chosen if len(outline) > 2]


def _remove_earlier_set(folder):
    """Removes JSON files that this module wrote, and raises UserError where one belongs to another set."""
    files = [path for name in _FILES.values() if (path := folder / "annotations" / name).exists()]
    for path in files:
        with open(path, encoding="utf-8", errors="replace") as file:
            if _DESCRIPTION not in file.read(200):
                raise UserError(f"{path} was not written by mpn.synthetic.scenes: give another folder")
    for path in files:
        path.unlink()
