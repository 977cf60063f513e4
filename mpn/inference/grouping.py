"""Grouping (§3.4, Table 3): gives peaks to boxes by the PRN, the paper's baselines UCR and Max, or geometry.

A grouping scores every candidate peak for every box; `assign` then picks at most one peak per box and keypoint.
Symbols: N boxes, K = 17 keypoints, M candidates per keypoint.
"""

import math

import numpy as np

from mpn import roi
from mpn.config import PRN_ASSIGNMENTS
from mpn.errors import UserError
from mpn.lazy import assignment_solver, ops
from mpn.people import GUESS_CONFIDENCE, Person, pose_scores

# "prn" and "prn-argmax" draw the PRN's input X from peaks; "prn-crop" crops it from the heatmaps, as the paper's text
# reads. "prn-argmax" takes the PRN's highest cells instead of peaks. "geometric" extends UCR: it takes the most likely
# assignment, given where keypoints lie in boxes.
GROUPINGS = ("prn", "prn-crop", "prn-argmax", "ucr", "max", "geometric")

# "independent", as in the paper's UCR and Max: every box takes its best peak, even if another box has it.
ASSIGNMENTS = (*PRN_ASSIGNMENTS, "independent")

# "geometric" rules out places with less than this likelihood, relative to the most likely cell.
_UNLIKELY = 1e-4

# Least score of a candidate of the baselines, which take every possible peak, as in the paper.
_POSSIBLE = 1e-6

# Stands for any score above 0.
_ANY = 1e-12

# Least score of a candidate of the PRN; below it, the PRN's own guess is closer to the truth.
LEAST_SCORE = 0.01


def for_each_box(positions, scores, count):
    """Repeats an image's peaks, (K, M, 2) and (K, M), for N boxes: (N, K, M, 2) and (N, K, M) float32."""
    # `ops.repeat` would need the number of boxes when the graph is made; multiplication does not.
    ones = ops.ones((count, 1, 1), "float32")
    return ones[..., None] * positions[None], ones * scores[None]


def score_candidates(grouping, prn, position_prior, positions, scores, boxes, margin, window, crops=None):
    """Scores each peak for each box, and guesses the places of keypoints without a peak. Runs inside a graph.

    `prn` is a GroupingPRN for the PRN's groupings, `position_prior` (56, 36, 17) float32 for "ucr" and "geometric", and
    `crops` (N, K, 56, 36) float32 for "prn-crop", see `mpn.roi.crop_maps`. `positions`, (N, K, M, 2), and `scores`,
    (N, K, M), float32, are the peaks of each box's image in pixels; 0 without a peak. `boxes`, (N, 4) float32 [x1, y1,
    x2, y2], grow by the share `margin` on each side. `window` is the odd side, in cells, of the window around a
    candidate in which the PRN's output is summed.

    Returns (N, K, M) candidates, 0 where the peak cannot belong to the box; (N, K, 2) guesses in pixels; and their (N,
    K) scores. All are float32, scores in [0, 1]. Guesses are the PRN's highest cells, the most likely cells ("ucr" and
    "geometric") or the middle of the box ("max").
    """
    boxes = roi.enlarge_boxes(boxes, margin)
    if grouping == "max":
        inside = roi.to_grid(positions, boxes)[1]
        centres = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
        guesses = ops.ones((1, positions.shape[1], 1)) * centres
        return ops.where(inside, scores, 0.0), guesses, ops.ones_like(guesses[..., 0])
    if grouping in ("ucr", "geometric"):
        prior = ops.convert_to_tensor(position_prior)
        # Relative to the most likely cell, so that scores of different keypoints can be compared.
        prior = prior / ops.maximum(ops.max(prior, axis=(0, 1)), 1e-12)
        prior = ops.ones_like(boxes[:, :1, None, None]) * ops.transpose(prior, (2, 0, 1))[None]
        likelihood = roi.window_sums(prior, positions, boxes, 1)
        if grouping == "geometric":
            # The assignment with the largest sum of logarithms has the largest product.
            likelihood = ops.maximum(1 + ops.log(ops.maximum(likelihood, _UNLIKELY)) / -math.log(_UNLIKELY), 0.0)
        return scores * likelihood, *roi.highest_cells(prior, boxes)
    maps = prn(roi.encode_maps(positions, scores, boxes) if crops is None else crops)
    guesses, guess_scores = roi.highest_cells(maps, boxes)
    return scores * roi.window_sums(maps, positions, boxes, window), guesses, guess_scores


def assignment_of(grouping, prn_assignment):
    """The entry of ASSIGNMENTS that a grouping uses: `prn_assignment` for "prn" and "prn-crop"."""
    return {"prn": prn_assignment, "prn-crop": prn_assignment, "geometric": "optimal"}.get(grouping, "independent")


def assign(candidates, assignment="greedy", least=LEAST_SCORE):
    """Gives peaks to boxes, separately for each keypoint: (N, K) int, the index of the peak or -1.

    `candidates` is (N, K, M) float. A peak needs a score of `least`, above 0. It belongs to at most one box, unless
    `assignment` is "independent".
    """
    if 0 in candidates.shape:
        return np.full(candidates.shape[:2], -1)
    if assignment == "independent":
        best = candidates.argmax(axis=2)
        return np.where(candidates.max(axis=2) >= least, best, -1)
    return (_assign_optimally if assignment == "optimal" else _assign_greedily)(candidates, least)


def _assign_greedily(candidates, least):
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
    chosen = np.full(candidates.shape[:2], -1)
    scores = np.where(candidates >= least, candidates, 0.0)
    for joint in np.flatnonzero(scores.any(axis=(0, 2))):
        box, peak = assignment_solver()(scores[:, joint], maximize=True)
        suits = scores[box, joint, peak] > 0
        chosen[box[suits], joint] = peak[suits]
    return chosen


def build_people(grouping, detections, candidates, guesses, guess_scores, assignment="greedy"):
    """Assigns peaks to boxes and makes a Person for each box, best first.

    A keypoint has the place of its peak. Without a peak it has the place of the guess and a confidence of at most
    GUESS_CONFIDENCE. "prn-argmax" only has guesses, with the confidence that "prn" has in the best peak: even a cell of
    a perfect answer holds only .04.

    `detections` has the boxes; the next three arguments are numpy arrays of `score_candidates`, in image pixels.
    """
    least = LEAST_SCORE if grouping in ("prn", "prn-crop") else _POSSIBLE
    # Boxes compete for peaks with score times box score: a doubtful box around a head must not take the nose from the
    # box of the whole person. The authors' code leaves out the box score. With an early version of `small`, that gives
    # .079 of AP on held-out photographs instead of .123.
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
    boxes, box_scores = detections.boxes, detections.box_scores
    return [
        Person(boxes[i], float(box_scores[i]), keypoints[i], float(scores[i]), detections.silhouettes)
        for i in np.argsort(-scores, kind="stable")
    ]


def check_grouping(grouping, position_prior):
    """Raises UserError for an unknown grouping, and for "ucr" and "geometric" without position maps."""
    if grouping not in GROUPINGS:
        raise UserError(f"grouping must be one of {', '.join(GROUPINGS)}, not {grouping!r}")
    if grouping in ("ucr", "geometric") and position_prior is None:
        raise UserError(f"grouping {grouping} needs position_prior.npy in the model directory: run train_prn.py")
