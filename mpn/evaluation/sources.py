"""The sources of keypoints and boxes in an evaluation: network, ground truth (Table 3) or files (Table 4)."""

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
from mpn.geometry import fit_factor, input_size
from mpn.heatmaps import STRIDE, encode_keypoints, find_peaks
from mpn.people import Detections, Person
from mpn.settings import SettingsError
from mpn.skeleton import KEYPOINTS, NUM_KEYPOINTS

NETWORK, GROUND_TRUTH, GROUND_TRUTH_HEATMAPS = "network", "ground-truth", "ground-truth-heatmaps"
TRUE = (GROUND_TRUTH, GROUND_TRUTH_HEATMAPS)
KEYPOINT_SOURCES = (NETWORK, *TRUE)
BOX_SOURCES = (NETWORK, GROUND_TRUTH)

# Images grouped in one call where the network does not run.
IMAGES_AT_A_TIME = 64

EMPTY = Detections(
    boxes=np.zeros((0, 4), np.float32),
    box_scores=np.zeros(0, np.float32),
    peaks=np.zeros((NUM_KEYPOINTS, 0, 2), np.float32),
    peak_scores=np.zeros((NUM_KEYPOINTS, 0), np.float32),
)


def find_people(model, records, add_keypoints=None, add_boxes=None, oracle=False, batch=1):
    """Yields for each image its list of Person, and its SilhouetteMap or None where the network did not run.

    `model` is a MultiPoseNet, or an Ensemble where the network finds both keypoints and boxes, `records` a list of
    ImageRecord. `add_keypoints` and `add_boxes` are from `keypoint_source` and `box_source`; None takes those of the
    network, which gets `batch` successive images at a time. `oracle` groups by `oracle_people`, with true boxes.
    """
    network = add_keypoints is None or add_boxes is None
    at_a_time = batch if network else IMAGES_AT_A_TIME
    for start in range(0, len(records), at_a_time):
        chunk = records[start : start + at_a_time]
        images = [read_record(record) for record in chunk] if network else ()
        if add_keypoints is add_boxes is None:
            yield from model.predict_all(images)
            continue
        detections = model.detect_all(images) if network else [EMPTY] * len(chunk)
        for add in filter(None, (add_keypoints, add_boxes)):
            detections = [add(found, record) for found, record in zip(detections, chunk, strict=True)]
        if oracle:
            people = [oracle_people(*pair) for pair in zip(detections, chunk, strict=True)]
        else:
            people = model.group_all(detections)
        yield from zip(people, (found.silhouettes for found in detections), strict=True)


def by_input_size(model, records):
    """The ImageRecords in an order in which those with one size of the network's input are together."""
    first = getattr(model, "models", [model])[0]  # of an ensemble
    return sorted(records, key=lambda r: input_size(r.height, r.width, first.config.image_size, first.square))


def keypoint_source(name, image_size, image_ids=None):
    """The function (Detections, ImageRecord) -> Detections that replaces the network's peaks; None for the network.

    `name` is one of KEYPOINT_SOURCES, or the path of a `PeaksFile` for `image_ids`. `image_size` is the (shorter,
    longest) side in pixels to which images are scaled. Raises UserError for any other name and for a wrong file.
    """
    heatmaps = functools.partial(with_true_heatmaps, image_size=image_size)
    known = {NETWORK: None, GROUND_TRUTH: with_true_keypoints, GROUND_TRUTH_HEATMAPS: heatmaps}
    if name in known:
        return known[name]
    return PeaksFile(_existing("keypoints", name, KEYPOINT_SOURCES), image_ids).add_to


def box_source(name, image_ids=None, category=PERSON_CATEGORY):
    """As `keypoint_source`, for boxes: `name` is one of BOX_SOURCES, or the path of a `BoxesFile`."""
    known = {NETWORK: None, GROUND_TRUTH: with_true_boxes}
    if name in known:
        return known[name]
    return BoxesFile(_existing("boxes", name, BOX_SOURCES), image_ids, category).add_to


def _existing(field, name, sources):
    if not pathlib.Path(name).exists():
        raise SettingsError(f"{{{field}}} must be {', '.join(sources)} or a JSON file, and {name} is neither")
    return name


def with_true_boxes(detections, record):
    """Replaces the boxes by those of the labelled people, each with score 1."""
    boxes = record.boxes[record.labelled]
    return dataclasses.replace(detections, boxes=boxes, box_scores=np.ones(len(boxes), np.float32))


def with_true_keypoints(detections, record, imperfections=PERFECT):
    """Replaces the peaks by the labelled people's keypoints, of score 1, which `imperfections` may change.

    Peaks are shuffled, so that their order does not tell whose they are. The image's id seeds all that is random.
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
    """Replaces the peaks by those of the target heatmaps, which a perfect keypoint subnet would give."""
    scale = fit_factor(record.height, record.width, image_size)
    keypoints = record.keypoints[record.labelled] * (scale, scale, 1)
    heatmaps = encode_keypoints(keypoints, *input_size(record.height, record.width, image_size))
    peaks, scores = find_peaks(heatmaps[None])
    return dataclasses.replace(
        detections, peaks=np.asarray(peaks)[0] * STRIDE / scale, peak_scores=np.asarray(scores)[0]
    )


def oracle_people(detections, record):
    """The best possible grouping: each labelled keypoint takes the nearest peak of its kind.

    `detections` must have the boxes of `with_true_boxes`. Keypoints without a peak lie at the centre of their box.
    """
    people = []
    for box, truth in zip(detections.boxes, record.keypoints[record.labelled], strict=True):
        keypoints = np.float32([[*(box[:2] + box[2:]) / 2, 0]] * NUM_KEYPOINTS)
        for joint in np.flatnonzero(truth[:, 2] > 0):
            peaks = detections.peaks[joint][detections.peak_scores[joint] > 0]
            if len(peaks):
                nearest = np.square(peaks - truth[joint, :2]).sum(axis=1).argmin()
                keypoints[joint] = *peaks[nearest], 1
        people.append(Person(box, 1.0, keypoints, 1.0))
    return people


class PeaksFile:
    """Ungrouped keypoints of another method (Table 4): a JSON list, plain or .gz, of {image_id, joint, x, y, score}.

    `joint` is a COCO name ("left_elbow") or index (0-16), x and y are COCO's pixel indices, and scores lie in [0, 1].
    Raises UserError for a wrong entry, and where the file has nothing for any of `image_ids`.
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
        """Replaces the peaks by the file's."""
        lists = self._peaks.get(record.id, [[]] * NUM_KEYPOINTS)
        peaks = np.zeros((NUM_KEYPOINTS, max(map(len, lists)), 3), np.float32)
        for row, found in zip(peaks, lists, strict=True):
            row[: len(found)] = np.array(found, np.float32).reshape(-1, 3) + np.float32([0.5, 0.5, 0])
        return dataclasses.replace(detections, peaks=peaks[..., :2], peak_scores=peaks[..., 2])


class BoxesFile:
    """Person boxes of another method: a COCO detections JSON, a list of {image_id, category_id, bbox, score}.

    Only entries of `category`, the annotations' id of people, count. Raises as `PeaksFile`.
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
                boxes = self._boxes[entry["image_id"]]  # makes the image one of the file's, even if the box is empty
                if width > 0 and height > 0:
                    boxes.append((x, y, x + width, y + height, score))
        if others and not self._boxes:
            raise UserError(
                f"{path} has no box of category {category}, which is person in the annotations, but of category "
                f"{', '.join(sorted(others)[:10])}: give people that category_id"
            )
        _check_images(path, self._boxes, image_ids)

    def add_to(self, detections, record):
        """Replaces the boxes by the file's, best first."""
        found = np.array(self._boxes.get(record.id, ()), np.float32).reshape(-1, 5)
        found = found[np.argsort(-found[:, 4], kind="stable")]
        return dataclasses.replace(detections, boxes=found[:, :4], box_scores=found[:, 4])


def _check_images(path, found, image_ids):
    if image_ids is not None and not found.keys() & set(image_ids):
        raise UserError(f"{path} has nothing for any of the {len(image_ids)} images: is it for another split?")


def _entries(path, what, needed):
    """Yields "entry N of FILE", for messages, and the entry, for each entry of a JSON list."""
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
    """The values as floats. Raises UserError unless they are `count` finite numbers up to FARTHEST."""
    numbers = [float(v) for v in values if type(v) in (int, float) and abs(v) <= FARTHEST]  # false for NaN
    if len(numbers) != count or len(values) != count:
        raise UserError(f"{where} has {shown(values)}, which are not {count} finite numbers up to {FARTHEST:,.0f}")
    return numbers
