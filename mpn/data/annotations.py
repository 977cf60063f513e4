"""COCO annotations, read and checked once: training's records and the ground truth of evaluations are made of this."""

import dataclasses
import itertools
import re

import numpy as np

from mpn.data.segmentations import checked_segmentation
from mpn.errors import UserError
from mpn.files import read_json
from mpn.skeleton import KEYPOINTS, NUM_KEYPOINTS

# COCO's id of people: where a file has no categories, and in everything inside this package.
PERSON_CATEGORY = 1

# The area of a person whose annotation has none, as a share of the box. On the 2,270 people of COCO's val2017 whose
# keypoints and exact silhouettes are at hand, areas have a median of .512 and a geometric mean of .494 of the box. Half
# the box is wrong by a factor of 1.24 (geometric mean), the whole box by 2.02; .45 by 1.27, .55 by 1.25, .6 by 1.29.
AREA_SHARE = 0.5

# Stated limits. JPEG's longest side; pixels of an image, for each of which a mask takes a byte; and how far from the
# image's corner a coordinate may be.
LONGEST_SIDE = 65535
MOST_PIXELS = 2**28
FARTHEST = 1e5


@dataclasses.dataclass(frozen=True)
class Annotations:
    """The people of a COCO file: N people in I images, each in the file's order. Coordinates are COCO's pixel indices.

    Attributes:
        path: of the file.
        category: the file's id of people.
        image_ids: list of I int, no two of them alike.
        file_names: list of I; what the file says, unchecked.
        sizes: (I, 2) int64, width and height in pixels.
        owners: (N,) int64, index of each person's image.
        keypoints: (N, 17, 3) float64, x, y and v (0 not labelled, 1 occluded, 2 visible); 0 throughout where v is 0.
        boxes: (N, 4) float64, x, y, width and height; each has area inside its image.
        areas: (N,) float64, square pixels of silhouette, above 0; see AREA_SHARE.
        crowd: (N,) bool, regions that are not single people.
        segmentations: list of N; see `checked_segmentation`; [] where unknown.
    """

    path: object
    category: int
    image_ids: list
    file_names: list
    sizes: np.ndarray
    owners: np.ndarray
    keypoints: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    crowd: np.ndarray
    segmentations: list


class _Fault(ValueError):
    """What is wrong with a file or, where one is given, with an item of its lists: the rest of a sentence."""

    def __init__(self, reason, item=None):
        super().__init__(reason)
        self.item = item


def read_annotations(path):
    """Reads a COCO file, plain or .gz.

    People are found by the category called person, or, where the file has no categories, are those of category 1.
    Their keypoints are put into COCO's order by the names that the category gives. Annotations without a category are
    people; those of other categories are not looked at. A field that is null counts as absent. Left out, with one line
    that counts them: annotations of categories and people of images that the file does not list, and boxes without
    area inside the image. Polygons that are malformed count as no segmentation, which one line says too.

    Args:
        path: a COCO JSON with "images" and, but for test images, "annotations".

    Returns:
        Annotations.

    Raises:
        UserError: the file is not COCO; the message names the file, the image or annotation and what is wrong.
    """
    content = read_json(path, "COCO annotations")
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise UserError(f"{path} is not a COCO annotations file: it has no list 'images'")
    try:
        return _checked(path, content)
    except _Fault as fault:
        raise UserError(f"{path} is not a COCO person-keypoints file: {_name(content, fault.item)}{fault}") from None


def whole_number(value):
    """The int that a JSON value means: a whole number, also as a float or as text. None for anything else."""
    if type(value) is float and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"\s*-?[0-9]{1,30}\s*", value):
        return int(value)
    return value if type(value) is int else None


def shown(value):
    """A value for a message, cut where it is long."""
    text = repr(value)
    return text if len(text) < 60 else f"{text[:56]}..."


def _checked(path, content):
    category, joints = _person_category(content.get("categories"))
    images, people = content["images"], content.get("annotations")
    images, people = _dicts(images, "images"), _dicts([] if people is None else people, "annotations")
    image_ids = _whole_numbers(images, "id")
    index = {image: number for number, image in enumerate(image_ids)}
    if len(index) < len(image_ids):
        twice = next(image for number, image in enumerate(image_ids) if index[image] != number)
        raise _Fault(f"image {twice} is listed twice")
    sizes = _sizes(images)

    categories = _whole_numbers(people, "category_id", category)
    mine = [person for person, number in zip(people, categories, strict=True) if number == category]
    if people and not mine:
        raise _Fault(f"none of its {len(people)} annotations is of category {category} (person)")
    listed = {whole_number(item.get("id")) for item in content.get("categories") or ()} or {category, *categories}
    listed = np.array([number in listed for number in categories], bool)
    _note(path, content, "annotations left out, whose category it does not list", people, listed)
    owners = np.array([index.get(image, -1) for image in _whole_numbers(mine, "image_id")], np.int64)
    if len(owners) and owners.max() < 0:
        raise _Fault(f"none of its {len(mine)} people is in an image that it lists")
    listed = owners >= 0
    _note(path, content, "people left out, whose image it does not list", mine, listed)
    mine, owners = _kept(listed, mine, owners)
    boxes = _rows([person.get("bbox") for person in mine], 4, FARTHEST, mine, "bbox")
    real = _has_area(boxes, sizes[owners])
    _note(path, content, "people left out, whose box has no area in the image", mine, real)
    mine, owners, boxes = _kept(real, mine, owners, boxes)
    segmentations = _segmentations(mine, sizes[owners].tolist())
    known = np.array([segmentation is not None for segmentation in segmentations], bool)
    _note(
        path, content, "people of unknown silhouette, whose polygons are no lists of three or more points", mine, known
    )

    return Annotations(
        path=path,
        category=category,
        image_ids=image_ids,
        file_names=[image.get("file_name") for image in images],
        sizes=sizes,
        owners=owners,
        keypoints=_keypoints(mine, joints, sizes[owners]),
        boxes=boxes,
        areas=_areas(mine, boxes),
        crowd=_crowd(mine),
        segmentations=[segmentation or [] for segmentation in segmentations],
    )


def _person_category(categories):
    """The id of people, and where each of COCO's keypoints is among theirs."""
    order = list(range(NUM_KEYPOINTS))
    if categories is None or categories == []:
        return PERSON_CATEGORY, order
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
    for number, item in enumerate(items):
        if not isinstance(item, dict):
            raise _Fault(f"number {number + 1} of its '{field}' is {shown(item)}, not an object with fields")
    return items


def _name(content, item):
    """What to call an item of a file's lists: by its id, where it has one."""
    if item is None:
        return ""
    for kind, field in (("image", "images"), ("annotation", "annotations"), ("category", "categories")):
        for number, other in enumerate(content.get(field) or ()):
            if other is item:
                identity = item.get("id")
                return f"{kind} {shown(identity) if type(identity) in (int, str) else f'number {number + 1}'} "
    return ""


def _fault(item, field, value, wanted):
    return _Fault(f"has no '{field}'" if value is None else f"has the {field} {shown(value)}, not {wanted}", item)


def _whole_numbers(items, field, default=None):
    """A field of all items as a list of int."""
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


def _kept(which, people, *arrays):
    """Some of the people, and of the arrays that go with them."""
    return list(itertools.compress(people, which)), *(array[which] for array in arrays)


def _note(path, content, what, items, right):
    """Says how many of the items are not right, and which is the first."""
    wrong = np.flatnonzero(~right)
    if len(wrong):
        print(f"{path}: {len(wrong)} of {len(items)} {what}: first {_name(content, items[wrong[0]])}".rstrip())


def _numbers(lists, count, most):
    """(N, count) float64 of N lists of numbers, or None unless that is what they are, each within -most and most."""
    if set(map(type, lists)) - {list} or set(map(len, lists)) - {count}:
        return None
    flat = list(itertools.chain.from_iterable(lists))
    if set(map(type, flat)) - {int, float}:
        return None
    try:
        rows = np.array(flat, np.float64).reshape(-1, count)
    except OverflowError:  # an int beyond all floats
        return None
    return rows if (np.abs(rows) <= most).all() else None  # not NaN either


def _rows(lists, count, most, people, field):
    """`_numbers`, or the fault that names the first annotation that is wrong."""
    rows = _numbers(lists, count, most)
    if rows is None:
        bad = next(number for number, values in enumerate(lists) if _numbers([values], count, most) is None)
        value = lists[bad] if count > 1 or lists[bad] is None else lists[bad][0]
        wanted = f"{count} finite numbers up to {most:,.0f}" if count > 1 else "a finite number"
        raise _fault(people[bad], field, value, wanted)
    return rows


def _has_area(boxes, sizes):
    """(N,) bool: whether boxes have area inside their images, in the float32 that they are used in."""
    boxes = boxes.astype(np.float32)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    corners = corners.clip(0, np.tile(sizes, 2).astype(np.float32))
    return (corners[:, 2:] > corners[:, :2]).all(axis=1) & (boxes[:, 2] * boxes[:, 3] * np.float32(AREA_SHARE) > 0)


def _keypoints(people, joints, sizes):
    values = [person.get("keypoints") for person in people]
    some = [number for number, value in enumerate(values) if value is not None and value != []]
    given = [people[number] for number in some]
    rows = _rows([values[number] for number in some], 3 * NUM_KEYPOINTS, FARTHEST, given, "keypoints")
    rows = rows.reshape(-1, NUM_KEYPOINTS, 3)
    bad = np.flatnonzero(~np.isin(rows[..., 2], (0, 1, 2)).all(axis=1))
    if len(bad):
        raise _Fault("has a keypoint whose v is not 0, 1 or 2", given[bad[0]])
    rows[rows[..., 2] == 0] = 0
    shares = rows[..., :2] / sizes[some, None]
    bad = np.flatnonzero(((shares < -1) | (shares > 2)).any(axis=(1, 2)))
    if len(bad):
        raise _Fault("has a keypoint that is further outside the image than the image is large", given[bad[0]])
    keypoints = np.zeros((len(people), NUM_KEYPOINTS, 3))
    keypoints[some] = rows[:, joints]
    return keypoints


def _areas(people, boxes):
    values = [person.get("area") for person in people]
    values = [[0 if value is None else value] for value in values]
    areas = _rows(values, 1, FARTHEST**2, people, "area")[:, 0]
    # An area is counted in whole pixels, of which one on each side may lie in the box by a part.
    bad = np.flatnonzero((areas < 0) | (areas > (boxes[:, 2:] + 2).prod(axis=1)))
    if len(bad):
        wanted = "a number from 0 that its box has room for"
        raise _fault(people[bad[0]], "area", float(areas[bad[0]]), wanted)
    return np.where(areas.astype(np.float32) > 0, areas, AREA_SHARE * boxes[:, 2:].prod(axis=1))


def _crowd(people):
    values = [person.get("iscrowd") for person in people]
    flags = [0 if v is None else int(v) if type(v) is bool else whole_number(v) for v in values]
    for person, value, flag in zip(people, values, flags, strict=True):
        if flag not in (0, 1):
            raise _fault(person, "iscrowd", value, "0 or 1")
    return np.array(flags, bool)


def _segmentations(people, sizes):
    """See `checked_segmentation`; None where polygons are malformed."""
    checked = []
    for person, size in zip(people, sizes, strict=True):
        try:
            checked.append(checked_segmentation(person.get("segmentation"), *size))
        except ValueError as error:
            raise _Fault(f"has an RLE {error}", person) from None
    return checked
