"""Where an evaluation takes keypoints and boxes from: the network, the ground truth (Table 3) or files (Table 4)."""

import collections
import dataclasses
import functools
import pathlib

import numpy as np

from mpn.data.annotations import FARTHEST, PERSON_CATEGORY, shown, whole_number
from mpn.data.coco import read_record
from mpn.data.imperfect import PERFECT
from mpn.errors import UserError
from mpn.files import read_json
from mpn.geometry import pad_to_multiple
from mpn.heatmaps import STRIDE, encode_keypoints, find_peaks
from mpn.inference.multiposenet import Detections
from mpn.people import Person
from mpn.skeleton import KEYPOINTS, NUM_KEYPOINTS

NETWORK, GROUND_TRUTH, GROUND_TRUTH_HEATMAPS = "network", "ground-truth", "ground-truth-heatmaps"
KEYPOINT_SOURCES = (NETWORK, GROUND_TRUTH, GROUND_TRUTH_HEATMAPS)
BOX_SOURCES = (NETWORK, GROUND_TRUTH)

# Images whose people are grouped together where the network is not needed.
IMAGES_AT_A_TIME = 64

EMPTY = Detections(
    boxes=np.zeros((0, 4), np.float32),
    box_scores=np.zeros(0, np.float32),
    peaks=np.zeros((NUM_KEYPOINTS, 0, 2), np.float32),
    peak_scores=np.zeros((NUM_KEYPOINTS, 0), np.float32),
)


def find_people(model, records, add_keypoints=None, add_boxes=None, oracle=False):
    """People of some images, whose keypoints and boxes may come from elsewhere than the network.

    Args:
        model: MultiPoseNet; an Ensemble too where the network finds both keypoints and boxes.
        records: list of ImageRecord.
        add_keypoints, add_boxes: see `keypoint_source` and `box_source`; None takes what the network finds.
        oracle: the best grouping there can be instead of the model's; it needs true boxes.

    Yields:
        pairs, one an image: list of Person, and the image's SilhouetteMap, or None where the network did not run.
    """
    if add_keypoints is add_boxes is None:
        yield from (model.predict(read_record(record), with_silhouettes=True) for record in records)
        return
    network = add_keypoints is None or add_boxes is None

    def detections_of(record):
        found = model.detect(read_record(record)) if network else EMPTY
        for add in (add_keypoints, add_boxes):
            found = add(found, record) if add else found
        return found

    at_a_time = 1 if network else IMAGES_AT_A_TIME
    for start in range(0, len(records), at_a_time):
        batch = records[start : start + at_a_time]
        detections = [detections_of(record) for record in batch]
        if oracle:
            people = [oracle_people(*pair) for pair in zip(detections, batch, strict=True)]
        else:
            people = model.group_all(detections)
        yield from zip(people, (found.silhouettes for found in detections), strict=True)


def keypoint_source(name, image_size, image_ids=None):
    """The function that puts other peaks in the place of the network's.

    Args:
        name: of KEYPOINT_SOURCES, or a file, see `PeaksFile`.
        image_size: shorter and longest side in pixels to which an image would be scaled.
        image_ids: ids of the images to be evaluated; a file must have something for one of them.

    Returns:
        function of Detections and ImageRecord, giving Detections; None for the network.

    Raises:
        UserError: `name` is neither, or the file is not what it should be.
    """
    if name == NETWORK:
        return None
    if name == GROUND_TRUTH:
        return with_true_keypoints
    if name == GROUND_TRUTH_HEATMAPS:
        return functools.partial(with_true_heatmaps, image_size=image_size)
    return PeaksFile(_existing("--keypoints", name, KEYPOINT_SOURCES), image_ids).add_to


def box_source(name, image_ids=None, category=PERSON_CATEGORY):
    """Like `keypoint_source` for boxes: of BOX_SOURCES, or a file, see `BoxesFile`."""
    if name == NETWORK:
        return None
    if name == GROUND_TRUTH:
        return with_true_boxes
    return BoxesFile(_existing("--boxes", name, BOX_SOURCES), image_ids, category).add_to


def _existing(option, name, sources):
    if not pathlib.Path(name).exists():
        raise UserError(f"{option} must be {', '.join(sources)} or a JSON file, and {name} is neither")
    return name


def with_true_boxes(detections, record):
    """Detections with the boxes of an image's labelled people, each with score 1."""
    boxes = record.boxes[record.labelled]
    return dataclasses.replace(detections, boxes=boxes, box_scores=np.ones(len(boxes), np.float32))


def with_true_keypoints(detections, record, imperfections=PERFECT):
    """Detections with the labelled keypoints of everyone as peaks: each with score 1, unless Imperfections change them.

    The order of each keypoint's peaks is random, so that it does not tell whose they are. All that is random depends on
    the image's id alone.
    """
    people = record.of(record.labelled)
    rng = np.random.default_rng(abs(record.id))
    positions, heights = imperfections.peaks(people.keypoints, people.boxes, people.areas, rng)
    order = rng.permuted(np.tile(np.arange(len(heights)), (NUM_KEYPOINTS, 1)), axis=1)
    return dataclasses.replace(
        detections,
        peaks=np.take_along_axis(positions.transpose(1, 0, 2), order[..., None], axis=1),
        peak_scores=np.take_along_axis(heights.T, order, axis=1),
    )


def with_true_heatmaps(detections, record, image_size):
    """Detections with the peaks of the target heatmaps: what a keypoint subnet without error would give."""
    scale = min(image_size[0] / min(record.height, record.width), image_size[1] / max(record.height, record.width))
    keypoints = record.keypoints[record.labelled] * (scale, scale, 1)
    height, width = (pad_to_multiple(max(1, round(side * scale))) for side in (record.height, record.width))
    peaks, scores = find_peaks(encode_keypoints(keypoints, height, width)[None])
    return dataclasses.replace(
        detections, peaks=np.asarray(peaks)[0] * STRIDE / scale, peak_scores=np.asarray(scores)[0]
    )


def oracle_people(detections, record):
    """The best grouping there can be: each labelled keypoint takes the nearest peak of its kind.

    Detections must have the boxes of `with_true_boxes`. There is a Person for each labelled person. Without any peak of
    a kind, the keypoint is at the box's centre.
    """
    people = []
    for box, truth in zip(detections.boxes, record.keypoints[record.labelled], strict=True):
        keypoints = np.zeros((NUM_KEYPOINTS, 3), np.float32)
        keypoints[:, :2] = (box[:2] + box[2:]) / 2
        for joint in np.flatnonzero(truth[:, 2] > 0):
            peaks = detections.peaks[joint][detections.peak_scores[joint] > 0]
            if len(peaks):
                nearest = np.square(peaks - truth[joint, :2]).sum(axis=1).argmin()
                keypoints[joint] = *peaks[nearest], 1
        people.append(Person(box, 1.0, keypoints, 1.0))
    return people


class PeaksFile:
    """Ungrouped keypoints of another method (Table 4): a JSON list of {image_id, joint, x, y, score}.

    `joint` is a COCO name ("left_elbow") or index (0-16), x and y are COCO's pixel indices, scores lie in [0, 1].

    Args:
        path: the file, plain or .gz.
        image_ids: ids of the images to be evaluated, or None for any.

    Raises:
        UserError: the file is missing or not such a list, the message names the entry; or it has nothing for any of
            the images.
    """

    def __init__(self, path, image_ids=None):
        self._peaks = collections.defaultdict(lambda: [[] for _ in range(NUM_KEYPOINTS)])
        joints = {name: index for index, name in enumerate(KEYPOINTS)} | {i: i for i in range(NUM_KEYPOINTS)}
        for where, entry in _entries(path, "keypoints", ("image_id", "joint", "x", "y", "score")):
            if type(entry["joint"]) not in (int, str) or entry["joint"] not in joints:
                raise UserError(f"{where} has the joint {shown(entry['joint'])}, which is no COCO keypoint")
            numbers = _finite(where, [entry["x"], entry["y"], entry["score"]])
            if not 0 <= numbers[2] <= 1:
                raise UserError(f"{where} has the score {numbers[2]}, which is not in 0-1")
            self._peaks[entry["image_id"]][joints[entry["joint"]]].append(numbers)
        _check_images(path, self._peaks, image_ids)

    def add_to(self, detections, record):
        """Detections with the file's peaks of an image."""
        lists = self._peaks.get(record.id, [[]] * NUM_KEYPOINTS)
        peaks = np.zeros((NUM_KEYPOINTS, max(map(len, lists)), 3), np.float32)
        for row, found in zip(peaks, lists, strict=True):
            if found:
                row[: len(found)] = found
                row[: len(found), :2] += 0.5
        return dataclasses.replace(detections, peaks=peaks[..., :2], peak_scores=peaks[..., 2])


class BoxesFile:
    """Person boxes of a COCO detections JSON: a list of {image_id, category_id, bbox, score}.

    Entries of another category than `category`, the annotations' id of people, are left out. Else see `PeaksFile`.
    """

    def __init__(self, path, image_ids=None, category=PERSON_CATEGORY):
        self._boxes = collections.defaultdict(list)
        others = set()
        for where, entry in _entries(path, "detections", ("image_id", "category_id", "bbox", "score")):
            if whole_number(entry["category_id"]) != category:
                others.add(shown(entry["category_id"]))
            else:
                corner = entry["bbox"] if isinstance(entry["bbox"], list) else [entry["bbox"]]
                x, y, width, height, score = _finite(where, [*corner, entry["score"]], 5)
                boxes = self._boxes[entry["image_id"]]  # the image counts as one of the file's, whatever the box
                if width > 0 and height > 0:
                    boxes.append((x, y, x + width, y + height, score))
        if others and not self._boxes:
            raise UserError(
                f"{path} has no box of category {category}, which is person in the annotations, but of category "
                f"{', '.join(sorted(others)[:10])}: give people that category_id"
            )
        _check_images(path, self._boxes, image_ids)

    def add_to(self, detections, record):
        """Detections with the file's boxes of an image, best first."""
        found = np.array(self._boxes.get(record.id, ()), np.float32).reshape(-1, 5)
        found = found[np.argsort(-found[:, 4], kind="stable")]
        return dataclasses.replace(detections, boxes=found[:, :4], box_scores=found[:, 4])


def _check_images(path, found, image_ids):
    if image_ids is not None and not found.keys() & set(image_ids):
        raise UserError(f"{path} has nothing for any of the {len(image_ids)} images: is it for another split?")


def _entries(path, what, needed):
    """Pairs of a phrase that names an entry of a JSON list, and the entry."""
    content = read_json(path, what)
    if not isinstance(content, list):
        raise UserError(f"{path} is not a JSON list of {what}")
    for index, entry in enumerate(content):
        if not isinstance(entry, dict) or not set(needed) <= set(entry):
            raise UserError(f"entry {index} of {path} must have {', '.join(needed)}")
        if type(entry["image_id"]) is not int:
            raise UserError(f"entry {index} of {path} has the image_id {shown(entry['image_id'])}, not a whole number")
        yield f"entry {index} of {path}", entry


def _finite(where, values, count=3):
    """The values as floats; UserError unless they are `count` finite numbers up to FARTHEST."""
    numbers = [float(v) for v in values if type(v) in (int, float) and abs(v) <= FARTHEST]  # not NaN either
    if len(numbers) != count or len(values) != count:
        raise UserError(f"{where} has {shown(values)}, which are not {count} finite numbers up to {FARTHEST:,.0f}")
    return numbers
