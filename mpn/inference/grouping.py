"""From peaks and boxes to people: the PRN and the paper's baselines UCR and Max (§3.4, Table 3).

A grouping scores every candidate peak for every box; `assign` then picks at most one peak a box and keypoint. Symbols:
N boxes, K = 17, M candidates a keypoint.
"""

import numpy as np
from keras import ops

from mpn import roi
from mpn.errors import UserError
from mpn.people import Person

GROUPINGS = ("prn", "prn-argmax", "ucr", "max")

# Side in cells of the window in which a candidate collects the PRN's output (authors' code: 15).
WINDOW = 15

# A candidate that the grouping believes in less than this is left alone: the PRN's own guess is nearer.
LEAST_SCORE = 0.01

# Confidence of a keypoint that no peak supports, at most. OKS counts every labelled joint, so a guess never costs.
GUESS_CONFIDENCE = 0.05


def score_candidates(grouping, prn, position_prior, positions, scores, boxes, margin):
    """How well each peak suits each box, and the PRN's own guess. Runs inside a graph.

    Args:
        grouping: one of GROUPINGS.
        prn: keras.Model, used by "prn" and "prn-argmax".
        position_prior: (56, 36, 17) float32, used by "ucr".
        positions: (K, M, 2) float32, peaks in pixels.
        scores: (K, M) float32 in [0, 1], 0 where there is no peak.
        boxes: (N, 4) float32, [x1, y1, x2, y2] in the same pixels.
        margin: by which boxes are enlarged.

    Returns:
        candidates: (N, K, M) float32 in [0, 1]; 0 where the peak cannot belong to the box.
        guesses: (N, K, 2) float32, pixels, and guess_scores: (N, K) float32 in [0, 1]; 0 without the PRN.
    """
    count = ops.shape(boxes)[0]
    boxes = roi.enlarge_boxes(boxes, margin)
    # Broadcasting by multiplication: `ops.repeat` would need the number of boxes when the graph is made.
    ones = ops.ones((count, 1, 1), "float32")
    all_scores = ones * scores[None]
    all_positions = ones[..., None] * positions[None]
    no_guess = ops.zeros((count, positions.shape[0], 2)), ops.zeros((count, positions.shape[0]))
    if grouping == "max":
        inside = roi.to_grid(all_positions, boxes)[1]
        return ops.where(inside, all_scores, 0.0), *no_guess
    if grouping == "ucr":
        prior = ops.convert_to_tensor(position_prior)
        # Relative to the keypoint's most likely cell, so that scores of keypoints can be compared.
        prior = ones[..., None] * (prior / ops.maximum(ops.max(prior, axis=(0, 1)), 1e-12))[None]
        return all_scores * roi.window_sums(prior, all_positions, boxes, 1), *no_guess
    poses = prn(roi.encode_rois(all_positions, all_scores, boxes))
    guesses, guess_scores = roi.highest_cells(poses, boxes)
    if grouping == "prn-argmax":
        return ops.zeros_like(all_scores), guesses, guess_scores
    return all_scores * roi.window_sums(poses, all_positions, boxes, WINDOW), guesses, guess_scores


def assign(candidates, exclusive=True):
    """Greedy assignment: the best remaining pair of box and peak first, each keypoint on its own.

    Args:
        candidates: (N, K, M) float.
        exclusive: a peak belongs to one box; False lets every box take its best.

    Returns:
        (N, K) int, the index of the peak in [0, M), or -1 where none scores LEAST_SCORE.
    """
    n, k, m = candidates.shape
    chosen = np.full((n, k), -1)
    if n == 0 or m == 0:
        return chosen
    if not exclusive:
        best = candidates.argmax(axis=2)
        return np.where(candidates.max(axis=2) >= LEAST_SCORE, best, -1)
    remaining = candidates.transpose(1, 0, 2).copy()
    joints = np.arange(k)
    for _ in range(min(n, m)):
        box, peak = np.unravel_index(remaining.reshape(k, -1).argmax(axis=1), (n, m))
        open_joints = remaining[joints, box, peak] >= LEAST_SCORE
        if not open_joints.any():
            break
        joint, box, peak = joints[open_joints], box[open_joints], peak[open_joints]
        chosen[box, joint] = peak
        remaining[joint, box] = 0
        remaining[joint, :, peak] = 0
    return chosen


def build_people(grouping, detections, candidates, guesses, guess_scores):
    """Assigns peaks and makes people, best first.

    A keypoint stays where its peak is, at full resolution; where a box has no peak, the PRN's guess stands in with a
    confidence of at most GUESS_CONFIDENCE ("prn-argmax" takes its guesses at full confidence). The pose score is the
    box score times the mean confidence of the keypoints that are no guesses.

    Args:
        grouping: one of GROUPINGS.
        detections: Detections, N boxes.
        candidates, guesses, guess_scores: as `score_candidates` gives them, numpy arrays in image pixels.

    Returns:
        list of N Person.
    """
    chosen = assign(candidates, exclusive=grouping == "prn")
    n, k = chosen.shape
    keypoints = np.zeros((n, k, 3), np.float32)
    keypoints[..., :2] = guesses
    keypoints[..., 2] = guess_scores if grouping == "prn-argmax" else np.minimum(guess_scores, 1) * GUESS_CONFIDENCE
    box, joint = np.nonzero(chosen >= 0)
    peak = chosen[box, joint]
    keypoints[box, joint, :2] = detections.peaks[joint, peak]
    keypoints[box, joint, 2] = np.minimum(candidates[box, joint, peak], 1)
    counted = keypoints[..., 2] > GUESS_CONFIDENCE
    confidence = (keypoints[..., 2] * counted).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)
    pose_scores = detections.box_scores * confidence
    return [
        Person(
            box=detections.boxes[i],
            box_score=float(detections.box_scores[i]),
            keypoints=keypoints[i],
            score=float(pose_scores[i]),
            silhouettes=detections.silhouettes,
        )
        for i in np.argsort(-pose_scores, kind="stable")
    ]


def check_grouping(grouping, position_prior):
    """Raises UserError for an unknown grouping, or for "ucr" without its position maps."""
    if grouping not in GROUPINGS:
        raise UserError(f"grouping must be one of {', '.join(GROUPINGS)}, not {grouping!r}")
    if grouping == "ucr" and position_prior is None:
        raise UserError("UCR needs position_prior.npy in the model directory: run train_prn.py")
