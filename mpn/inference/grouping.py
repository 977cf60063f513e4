"""From peaks and boxes to people: the PRN, the paper's baselines UCR and Max, and a geometric one (§3.4, Table 3).

A grouping scores every candidate peak for every box; `assign` then picks at most one peak a box and keypoint. Symbols:
N boxes, K = 17, M candidates a keypoint.
"""

import math

import numpy as np
from scipy.optimize import linear_sum_assignment

from mpn import roi
from mpn.config import PRN_ASSIGNMENTS
from mpn.errors import UserError
from mpn.lazy import ops
from mpn.people import GUESS_CONFIDENCE, Person, pose_scores

# "geometric" is UCR's idea taken as far as it goes: the most likely assignment, given where in a box each joint lies.
GROUPINGS = ("prn", "prn-argmax", "ucr", "max", "geometric")

# "independent": every box takes its best peak, whoever else has it, as the paper's UCR and Max do.
ASSIGNMENTS = (*PRN_ASSIGNMENTS, "independent")

# Relative to the most likely cell.
_UNLIKELY = 1e-4

# Least score of the baselines' candidates.
_POSSIBLE = 1e-6

# Least score above nothing.
_ANY = 1e-12

# A candidate that the PRN believes in less than this is left alone: its own guess is nearer. The baselines take
# whatever is not impossible, as the paper's do.
LEAST_SCORE = 0.01


def for_each_box(positions, scores, count):
    """The peaks of an image as each of its boxes sees them.

    Args:
        positions: (K, M, 2) float, peaks in pixels.
        scores: (K, M) float.
        count: number of boxes N, which a graph need not know when it is made.

    Returns:
        (N, K, M, 2) float32 and (N, K, M) float32.
    """
    # Broadcasting by multiplication: `ops.repeat` would need the number of boxes when the graph is made.
    ones = ops.ones((count, 1, 1), "float32")
    return ones[..., None] * positions[None], ones * scores[None]


def score_candidates(grouping, prn, position_prior, positions, scores, boxes, margin, window):
    """How well each peak suits each box, and a guess where a joint is that has no peak. Runs inside a graph.

    Args:
        grouping: one of GROUPINGS.
        prn: function of the PRN on (N, 17, 56, 36) maps, see `mpn.inference.prn`; used by "prn" and "prn-argmax".
        position_prior: (56, 36, 17) float32, used by "ucr" and "geometric".
        positions: (N, K, M, 2) float32, the peaks of each box's image in pixels.
        scores: (N, K, M) float32 in [0, 1], 0 where there is no peak.
        boxes: (N, 4) float32, [x1, y1, x2, y2] in the same pixels.
        margin: by which boxes are enlarged.
        window: odd side in cells of the window in which a candidate collects the PRN's output.

    Returns:
        candidates: (N, K, M) float32 in [0, 1]; 0 where the peak cannot belong to the box.
        guesses: (N, K, 2) float32, pixels, and guess_scores: (N, K) float32 in [0, 1]: the PRN's highest cell, the
            most likely cell of "ucr" and "geometric", the middle of the box of "max".
    """
    boxes = roi.enlarge_boxes(boxes, margin)
    if grouping == "max":
        inside = roi.to_grid(positions, boxes)[1]
        centres = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
        guesses = ops.ones((1, positions.shape[1], 1)) * centres
        return ops.where(inside, scores, 0.0), guesses, ops.ones_like(guesses[..., 0])
    if grouping in ("ucr", "geometric"):
        prior = ops.convert_to_tensor(position_prior)
        # Relative to the keypoint's most likely cell, so that scores of keypoints can be compared.
        prior = prior / ops.maximum(ops.max(prior, axis=(0, 1)), 1e-12)
        prior = ops.ones_like(boxes[:, :1, None, None]) * ops.transpose(prior, (2, 0, 1))[None]
        likelihood = roi.window_sums(prior, positions, boxes, 1)
        if grouping == "geometric":
            # The largest sum of logarithms is the largest product; a place this unlikely counts as impossible.
            likelihood = ops.maximum(1 + ops.log(ops.maximum(likelihood, _UNLIKELY)) / -math.log(_UNLIKELY), 0.0)
        return scores * likelihood, *roi.highest_cells(prior, boxes)
    maps = prn(roi.encode_maps(positions, scores, boxes))
    guesses, guess_scores = roi.highest_cells(maps, boxes)
    return scores * roi.window_sums(maps, positions, boxes, window), guesses, guess_scores


def assignment_of(grouping, prn_assignment):
    """The way in which a grouping picks peaks: one of ASSIGNMENTS.

    Args:
        grouping: one of GROUPINGS.
        prn_assignment: one of PRN_ASSIGNMENTS, for "prn".
    """
    return {"prn": prn_assignment, "geometric": "optimal"}.get(grouping, "independent")


def assign(candidates, assignment="greedy", least=LEAST_SCORE):
    """Gives peaks to boxes, each keypoint on its own; see ASSIGNMENTS.

    Args:
        candidates: (N, K, M) float.
        assignment: one of ASSIGNMENTS; but for "independent", a peak belongs to one box at most.
        least: score above 0 that a peak needs.

    Returns:
        (N, K) int, the index of the peak in [0, M), or -1 where none scores `least`.
    """
    n, k, m = candidates.shape
    if n == 0 or m == 0:
        return np.full((n, k), -1)
    if assignment == "independent":
        best = candidates.argmax(axis=2)
        return np.where(candidates.max(axis=2) >= least, best, -1)
    return (_assign_optimally if assignment == "optimal" else _assign_greedily)(candidates, least)


def _assign_greedily(candidates, least):
    """The best remaining pair of box and peak first."""
    n, k, m = candidates.shape
    chosen = np.full((n, k), -1)
    remaining = candidates.transpose(1, 0, 2).copy()
    joints = np.arange(k)
    for _ in range(min(n, m)):
        box, peak = np.unravel_index(remaining.reshape(k, -1).argmax(axis=1), (n, m))
        open_joints = remaining[joints, box, peak] >= least
        if not open_joints.any():
            break
        joint, box, peak = joints[open_joints], box[open_joints], peak[open_joints]
        chosen[box, joint] = peak
        remaining[joint, box] = 0
        remaining[joint, :, peak] = 0
    return chosen


def _assign_optimally(candidates, least):
    """The largest sum of scores of all assignments."""
    chosen = np.full(candidates.shape[:2], -1)
    scores = np.where(candidates >= least, candidates, 0.0)
    for joint in np.flatnonzero(scores.any(axis=(0, 2))):
        box, peak = linear_sum_assignment(scores[:, joint], maximize=True)
        suits = scores[box, joint, peak] > 0
        chosen[box[suits], joint] = peak[suits]
    return chosen


def build_people(grouping, detections, candidates, guesses, guess_scores, assignment="greedy"):
    """Assigns peaks and makes people, best first.

    Where boxes vie for a peak, each one's score for it counts times the box score. (The authors' code leaves that out:
    .079 instead of .123 of AP on the held-out photographs with the model `small`, whose doubtful boxes took peaks from
    sure ones; true boxes are all alike.)

    A keypoint stays where its peak is, at full resolution; where a box has no peak, the guess stands in with a
    confidence of at most GUESS_CONFIDENCE. "prn-argmax" takes the guesses' places alone, but with the confidence that
    "prn" has in the best peak: a cell of a perfect answer holds .04, so its own value says nothing beside other
    groupings' confidences.

    Args:
        grouping: one of GROUPINGS.
        detections: Detections, N boxes.
        candidates, guesses, guess_scores: as `score_candidates` gives them, numpy arrays in image pixels.
        assignment: see `assign`.

    Returns:
        list of N Person.
    """
    least = LEAST_SCORE if grouping == "prn" else _POSSIBLE
    # Boxes vie for peaks with the detector's confidence in them: a doubtful box around a head, say, must not take the
    # nose from the whole person's box.
    claims = np.where(candidates >= least, candidates * detections.box_scores[:, None, None], 0.0)
    keypoints = np.concatenate([guesses, np.minimum(guess_scores, 1)[..., None] * GUESS_CONFIDENCE], axis=-1)
    keypoints = keypoints.astype(np.float32)
    if grouping == "prn-argmax":
        beliefs = np.minimum(candidates.max(axis=2, initial=0), 1)
        keypoints[..., 2] = np.maximum(keypoints[..., 2], beliefs)
        claims = claims[..., :0]
    chosen = assign(claims, assignment, _ANY)
    box, joint = np.nonzero(chosen >= 0)
    peak = chosen[box, joint]
    keypoints[box, joint, :2] = detections.peaks[joint, peak]
    keypoints[box, joint, 2] = np.minimum(candidates[box, joint, peak], 1)
    scores = pose_scores(detections.box_scores, keypoints[..., 2])
    return [
        Person(
            box=detections.boxes[i],
            box_score=float(detections.box_scores[i]),
            keypoints=keypoints[i],
            score=float(scores[i]),
            silhouettes=detections.silhouettes,
        )
        for i in np.argsort(-scores, kind="stable")
    ]


def check_grouping(grouping, position_prior, assignment="greedy"):
    """Raises UserError for an unknown grouping or assignment, or for "ucr" and "geometric" without position maps."""
    if grouping not in GROUPINGS:
        raise UserError(f"grouping must be one of {', '.join(GROUPINGS)}, not {grouping!r}")
    if assignment not in PRN_ASSIGNMENTS:
        raise UserError(f"assignment must be one of {', '.join(PRN_ASSIGNMENTS)}, not {assignment!r}")
    if grouping in ("ucr", "geometric") and position_prior is None:
        raise UserError(f"grouping {grouping} needs position_prior.npy in the model directory: run train_prn.py")
