"""Where an evaluation takes keypoints and boxes from: the network or the ground truth (Table 3)."""

import dataclasses

import numpy as np

from mpn.data.geometry import pad_to_multiple
from mpn.heatmaps import STRIDE, encode_keypoints, find_peaks
from mpn.inference.predictor import Detections
from mpn.people import Person
from mpn.skeleton import NUM_KEYPOINTS

GROUND_TRUTH, GROUND_TRUTH_HEATMAPS = "ground-truth", "ground-truth-heatmaps"
KEYPOINT_SOURCES = ("network", GROUND_TRUTH, GROUND_TRUTH_HEATMAPS)
BOX_SOURCES = ("network", GROUND_TRUTH)

EMPTY = Detections(
    boxes=np.zeros((0, 4), np.float32),
    box_scores=np.zeros(0, np.float32),
    peaks=np.zeros((NUM_KEYPOINTS, 0, 2), np.float32),
    peak_scores=np.zeros((NUM_KEYPOINTS, 0), np.float32),
)


def with_true_boxes(detections, record):
    """Detections with the boxes of an image's labelled people, each with score 1."""
    boxes = record.boxes[record.labelled]
    return dataclasses.replace(detections, boxes=boxes, box_scores=np.ones(len(boxes), np.float32))


def with_true_keypoints(detections, record):
    """Detections with the labelled keypoints of everyone as peaks, each with score 1."""
    keypoints = record.keypoints[record.labelled].transpose(1, 0, 2)
    return dataclasses.replace(
        detections, peaks=keypoints[..., :2], peak_scores=(keypoints[..., 2] > 0).astype(np.float32)
    )


def with_true_heatmaps(detections, record, image_size):
    """Detections with the peaks of the target heatmaps: what a keypoint subnet without error would give.

    Args:
        detections: Detections.
        record: ImageRecord.
        image_size: shorter and longest side to which the image would be scaled.
    """
    scale = min(image_size[0] / min(record.height, record.width), image_size[1] / max(record.height, record.width))
    keypoints = record.keypoints[record.labelled] * (scale, scale, 1)
    height, width = (pad_to_multiple(round(side * scale)) for side in (record.height, record.width))
    peaks, scores = find_peaks(encode_keypoints(keypoints, height, width)[None])
    return dataclasses.replace(
        detections, peaks=np.asarray(peaks)[0] * STRIDE / scale, peak_scores=np.asarray(scores)[0]
    )


def oracle_people(detections, record):
    """The best grouping there can be: each labelled keypoint takes the nearest peak of its kind.

    Args:
        detections: Detections whose boxes are those of `with_true_boxes`.
        record: ImageRecord.

    Returns:
        list of Person, one a labelled person. Without any peak of a kind, the keypoint is at the box's centre.
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
