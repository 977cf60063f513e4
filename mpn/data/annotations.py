"""Reads and checks COCO annotations, for training and evaluation alike."""

import dataclasses
import itertools
import re

import numpy as np

from mpn.data.segmentations import checked_segmentation
from mpn.errors import UserError
from mpn.files import read_json
from mpn.images import MOST_PIXELS
from mpn.skeleton import KEYPOINTS, NUM_KEYPOINTS

# COCO's id of people, where a file has no categories and everywhere inside this package.
PERSON_CATEGORY = 1

# The area of a person whose annotation has none, as a share of the box; the median of val2017's 2,270 people with
# keypoints and exact masks is .512. Half the box is off by a factor of 1.24 on average, the whole box by 2.02.
AREA_SHARE = 0.5

LONGEST_SIDE = 65535  # pixels of a JPEG's side
FARTHEST = 1e5  # pixels from the image's corner to a coordinate


@dataclasses.dataclass(frozen=True)
class Annotations:
    """N people in I images, each in the file's order. Coordinates are COCO's pixel indices."""

    path: object
    category: int  # the file's id of people
    image_ids: list  # I different ints
    file_names: list  # I, unchecked
    sizes: np.ndarray  # (I, 2) int64: width and height in pixels
    owners: np.ndarray  # (N,) int64: index of each person's image
    keypoints: np.ndarray  # (N, 17, 3) float64: x, y, v (0 not labelled, 1 occluded, 2 visible); all 0 where v is 0
    boxes: np.ndarray  # (N, 4) float64 [x, y, width, height], with area inside the image
    areas: np.ndarray  # (N,) float64: square pixels of the mask, above 0; see AREA_SHARE
    crowd: np.ndarray  # (N,) bool: regions that are not single people
    segmentations: list  # N, see `checked_segmentation`; [] where unknown


class _Fault(ValueError):
    """A fault of a file, or of an item in its lists: the rest of a sentence about it."""

    def __init__(self, reason, item=None):
        super().__init__(reason)
        self.item = item


def read_annotations(path):
    """Reads a COCO JSON, plain or .gz, with "images" and, except for test images, "annotations".

    People are the annotations of the category called person (of category 1 where the file has no categories), and those
    without a category. The category's names of keypoints decide their order. A null field counts as absent.

    Three kinds are left out, and one printed line counts each: annotations of categories and people in images that the
    file does not list, and boxes without area inside the image. Malformed polygons count as no segmentation, and are
    counted too. Raises UserError, naming the file, the item and the fault, where the file is not COCO.
    """
    content = read_json(path, "COCO annotations")
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise UserError(f"{path} is not a COCO annotations file: it has no list 'images'")
    try:
        return _checked(path, content)
    except _Fault as fault:
        raise UserError(f"{path} is not a COCO person-keypoints file: {_name(content, fault.item)}{fault}") from None


def whole_number(value):
    """The int that a JSON int, float or text means; None where it is no whole number."""
    if type(value) is float and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"\s*-?[0-9]{1,30}\s*", value):
        return int(value)
    return value if type(value) is int else None


def shown(value):
    """The value for a message, cut if it is long."""
    text = repr(value)
    return text if len(text) < 60 else f"{text[:56]}..."


def _checked(path, content):
    category, joints = _person_category(content.get("categories"))
    images = _dicts(content["images"], "images")
    annotations = _dicts([] if content.get("annotations") is None else content["annotations"], "annotations")
    image_ids = _whole_numbers(images, "id")
    index = {image: number for number, image in enumerate(image_ids)}
    for number, image in enumerate(image_ids):
        if index[image] != number:
            raise _Fault(f"image {image} is listed twice")
    sizes = _sizes(images)

    categories = _whole_numbers(annotations, "category_id", category)
    people = [item for item, number in zip(annotations, categories, strict=True) if number == category]
    if annotations and not people:
        raise _Fault(f"none of its {len(annotations)} annotations is of category {category} (person)")
    known = {whole_number(item.get("id")) for item in content.get("categories") or ()} or {category, *categories}
    why = "annotations are left out: the file does not list their category"
    _kept(path, content, why, [number in known for number in categories], annotations)

    owners = np.array([index.get(image, -1) for image in _whole_numbers(people, "image_id")], np.int64)
    if len(owners) and owners.max() < 0:
        raise _Fault(f"none of its {len(people)} people is in an image that it lists")
    why = "people are left out: the file does not list their image"
    people, owners = _kept(path, content, why, owners >= 0, people, owners)
    boxes = _rows([person.get("bbox") for person in people], 4, FARTHEST, people, "bbox")
    why = "people are left out: their box has no area in the image"
    people, owners, boxes = _kept(path, content, why, _has_area(boxes, sizes[owners]), people, owners, boxes)
    segmentations = _segmentations(people, sizes[owners].tolist())
    why = "people have polygons that are not lists of three or more points"
    _kept(path, content, why, [segmentation is not None for segmentation in segmentations], people)

    names = [image.get("file_name") for image in images]
    keypoints, areas, crowd = _keypoints(people, joints, sizes[owners]), _areas(people, boxes), _crowd(people)
    segmentations = [segmentation or [] for segmentation in segmentations]
    of_people = {"keypoints": keypoints, "boxes": boxes, "areas": areas, "crowd": crowd, "segmentations": segmentations}
    return Annotations(path, category, image_ids, names, sizes, owners, **of_people)


def _person_category(categories):
    """The id of people, and for each of COCO's keypoints its index among the file's."""
    if categories is None or categories == []:
        return PERSON_CATEGORY, list(range(NUM_KEYPOINTS))
    categories = _dicts(categories, "categories")
    named = [c for c in categories if isinstance(c.get("name"), str) and c["name"].strip().lower() == "person"]
    if not named:
        names = ", ".join(str(c.get("name")) for c in categories)
        raise _Fault(f"none of its categories is called person, but {shown(names)}")
    ids = set(_whole_numbers(named, "id"))
    if len(ids) > 1 or any(whole_number(c.get("id")) in ids for c in categories if c not in named):
        raise _Fault("the category person and another one cannot be told apart by name and id")
    joints = next((c["keypoints"] for c in named if c.get("keypoints")), list(KEYPOINTS))
    if not isinstance(joints, list) or len(joints) != NUM_KEYPOINTS or any(name not in joints for name in KEYPOINTS):
        raise _Fault(f"its people have keypoints other than COCO's {NUM_KEYPOINTS}: {shown(joints)}")
    return ids.pop(), [joints.index(name) for name in KEYPOINTS]


def _dicts(items, field):
    if not isinstance(items, list):
        raise _Fault(f"its '{field}' are no list but {shown(items)}")
    for number, item in enumerate(items, start=1):
        if not isinstance(item, dict):
            raise _Fault(f"number {number} of its '{field}' is {shown(item)}, not an object with fields")
    return items


def _name(content, item):
    """The kind and id of an item of the file's lists, or its number where it has no id; "" for None."""
    for kind, field in (("image", "images"), ("annotation", "annotations"), ("category", "categories")):
        for number, other in enumerate(content.get(field) or (), start=1):
            if other is item and item is not None:
                identity = item.get("id")
                return f"{kind} {shown(identity) if type(identity) in (int, str) else f'number {number}'} "
    return ""


def _fault(item, field, value, wanted):
    return _Fault(f"has no '{field}'" if value is None else f"has the {field} {shown(value)}, not {wanted}", item)


def _whole_numbers(items, field, default=None):
    """One field of all items as a list of int."""
    values = [item.get(field) for item in items]
    if set(map(type, values)) <= {int}:
        return values
    numbers = [default if value is None else whole_number(value) for value in values]
    if None in numbers:
        bad = numbers.index(None)
        raise _fault(items[bad], field, values[bad], "a whole number")
    return numbers


def _sizes(images):
    sizes = []
    for field in ("width", "height"):
        sizes.append(_whole_numbers(images, field))
        for image, side in zip(images, sizes[-1], strict=True):
            if not 0 < side <= LONGEST_SIDE:
                raise _fault(image, field, side, f"1 to {LONGEST_SIDE} pixels")
    sizes = np.array(sizes, np.int64).T
    large = np.flatnonzero(sizes.prod(axis=1) > MOST_PIXELS)
    if len(large):
        raise _Fault(f"has more than {MOST_PIXELS:,} pixels, the most that are taken", images[large[0]])
    return sizes


def _kept(path, content, why, right, items, *arrays):
    """The items that are right, and their rows of the arrays; prints how many are not, and the first of them."""
    wrong = np.flatnonzero(~np.array(right, bool))
    if len(wrong):
        print(f"{path}: {len(wrong)} of {len(items)} {why}; the first is {_name(content, items[wrong[0]]).rstrip()}")
    return list(itertools.compress(items, right)), *(array[right] for array in arrays)


def _numbers(lists, count, most):
    """(N, count) float64 of N lists; None unless each has `count` numbers from -most to most."""
    if set(map(type, lists)) - {list} or set(map(len, lists)) - {count}:
        return None
    flat = list(itertools.chain.from_iterable(lists))
    if set(map(type, flat)) - {int, float}:
        return None
    try:
        rows = np.array(flat, np.float64).reshape(-1, count)
    except OverflowError:  # an int too large for a float
        return None
    return rows if (np.abs(rows) <= most).all() else None  # false for NaN


def _rows(lists, count, most, people, field):
    """As `_numbers`, but raises a _Fault for the first wrong annotation."""
    rows = _numbers(lists, count, most)
    if rows is None:
        bad = next(number for number, values in enumerate(lists) if _numbers([values], count, most) is None)
        value = lists[bad] if count > 1 or lists[bad] is None else lists[bad][0]
        wanted = f"{count} finite numbers up to {most:,.0f}" if count > 1 else "a finite number"
        raise _fault(people[bad], field, value, wanted)
    return rows


def corners(boxes):
    """(N, 4) float32 [x1, y1, x2, y2] of COCO's (N, 4) boxes [x, y, width, height]."""
    boxes = boxes.astype(np.float32)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def _has_area(boxes, sizes):
    """(N,) bool: whether boxes have area inside their images, in the float32 that is used later."""
    inside = corners(boxes).clip(0, np.tile(sizes, 2).astype(np.float32))
    areas = boxes[:, 2:].astype(np.float32).prod(axis=1) * np.float32(AREA_SHARE)
    return (inside[:, 2:] > inside[:, :2]).all(axis=1) & (areas > 0)


def _keypoints(people, joints, sizes):
    given = [number for number, person in enumerate(people) if person.get("keypoints") not in (None, [])]
    owners = [people[number] for number in given]
    rows = _rows([person["keypoints"] for person in owners], 3 * NUM_KEYPOINTS, FARTHEST, owners, "keypoints")
    rows = rows.reshape(-1, NUM_KEYPOINTS, 3)
    bad = np.flatnonzero(~np.isin(rows[..., 2], (0, 1, 2)).all(axis=1))
    if len(bad):
        raise _Fault("has a keypoint whose v is not 0, 1 or 2", owners[bad[0]])
    rows[rows[..., 2] == 0] = 0
    shares = rows[..., :2] / sizes[given, None]
    bad = np.flatnonzero(((shares < -1) | (shares > 2)).any(axis=(1, 2)))
    if len(bad):
        raise _Fault("has a keypoint that is further outside the image than the image is large", owners[bad[0]])
    keypoints = np.zeros((len(people), NUM_KEYPOINTS, 3))
    keypoints[given] = rows[:, joints]
    return keypoints


def _areas(people, boxes):
    values = [person.get("area") for person in people]
    areas = _rows([[0 if value is None else value] for value in values], 1, FARTHEST**2, people, "area")[:, 0]
    # Areas count whole pixels, which may lie partly outside the box at its sides.
    bad = np.flatnonzero((areas < 0) | (areas > (boxes[:, 2:] + 2).prod(axis=1)))
    if len(bad):
        raise _fault(people[bad[0]], "area", float(areas[bad[0]]), "a number from 0 that its box has room for")
    return np.where(areas.astype(np.float32) > 0, areas, AREA_SHARE * boxes[:, 2:].prod(axis=1))


def _crowd(people):
    values = [person.get("iscrowd") for person in people]
    flags = [0 if v is None else int(v) if type(v) is bool else whole_number(v) for v in values]
    for person, value, flag in zip(people, values, flags, strict=True):
        if flag not in (0, 1):
            raise _fault(person, "iscrowd", value, "0 or 1")
    return np.array(flags, bool)


def _segmentations(people, sizes):
    checked = []
    for person, size in zip(people, sizes, strict=True):
        try:
            checked.append(checked_segmentation(person.get("segmentation"), *size))
        except ValueError as error:
            raise _Fault(f"has an RLE {error}", person) from None
    return checked
