import dataclasses
import itertools
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import scipy.optimize
from keras import ops

from mpn import lazy, roi
from mpn.errors import UserError
from mpn.inference.grouping import (
    ASSIGNMENTS,
    assign,
    assignment_of,
    build_people,
    check_grouping,
    for_each_box,
    score_candidates,
)
from mpn.inference.multiposenet import Detections

ROOT = pathlib.Path(lazy.__file__).parents[1]

MARGIN, WINDOW = 0.21, 15


def random_candidates(seed, boxes=6, peaks=9):
    """(N, 17, M) distinct scores, some of them 0."""
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0.02, 1, (boxes, 17, peaks))
    return scores * (rng.random(scores.shape) < 0.6)


def greedy(candidates, least=0.01):
    """The same assignment as `assign`, pair by pair in plain Python."""
    n, k, m = candidates.shape
    chosen = np.full((n, k), -1)
    for joint in range(k):
        pairs = sorted(((candidates[i, joint, j], i, j) for i in range(n) for j in range(m)), reverse=True)
        taken = set()
        for score, box, peak in pairs:
            if score >= least and chosen[box, joint] < 0 and peak not in taken:
                chosen[box, joint] = peak
                taken.add(peak)
    return chosen


@pytest.mark.parametrize(("boxes", "peaks"), [(6, 9), (9, 4), (1, 5), (5, 1)])
def test_assignment_is_greedy_and_one_to_one(boxes, peaks):
    candidates = random_candidates(boxes, boxes, peaks)
    before = candidates.copy()
    chosen = assign(candidates)
    np.testing.assert_array_equal(candidates, before)
    np.testing.assert_array_equal(chosen, greedy(candidates))
    for joint in range(17):
        taken = chosen[chosen[:, joint] >= 0, joint]
        assert len(set(taken)) == len(taken)
    box, joint = np.nonzero(chosen >= 0)
    assert (candidates[box, joint, chosen[box, joint]] >= 0.01).all() and len(box)


def best_sum(scores, least=0.01):
    """The largest sum of scores over all ways to give each row one column or none, tried one by one."""
    n, m = scores.shape
    choices = [[-1, *np.flatnonzero(row >= least)] for row in scores]
    ways = (way for way in itertools.product(*choices) if len({c for c in way if c >= 0}) == sum(c >= 0 for c in way))
    return max(sum(scores[i, c] for i, c in enumerate(way) if c >= 0) for way in ways)


@pytest.mark.parametrize(("boxes", "peaks"), [(4, 5), (5, 3), (1, 4), (4, 1)])
def test_optimal_assignment_has_the_largest_sum(boxes, peaks):
    candidates = random_candidates(boxes + peaks, boxes, peaks)[:, :6]
    chosen = assign(candidates, "optimal")
    for joint in range(6):
        taken = chosen[chosen[:, joint] >= 0, joint]
        assert len(set(taken)) == len(taken)
        total = sum(candidates[i, joint, c] for i, c in enumerate(chosen[:, joint]) if c >= 0)
        assert total == pytest.approx(best_sum(candidates[:, joint]))


def test_optimal_assignment_gives_way_where_greedy_takes_all():
    candidates = np.array([[0.9, 0.8], [0.85, 0.1]])[:, None]
    np.testing.assert_array_equal(assign(candidates, "greedy")[:, 0], [0, 1])
    np.testing.assert_array_equal(assign(candidates, "optimal")[:, 0], [1, 0])


def test_solver_comes_without_the_rest_of_scipy():
    code = "import sys; from mpn.lazy import assignment_solver; print(assignment_solver()([[1, 2], [1, 0]], True)[1])"
    command = [sys.executable, "-c", code + "; assert 'scipy.optimize' not in sys.modules"]
    assert subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout == "[1 0]\n"


def test_solver_of_a_scipy_that_keeps_it_elsewhere(monkeypatch):
    monkeypatch.setattr(lazy.importlib.machinery.PathFinder, "find_spec", lambda *_: None)
    assert lazy.assignment_solver.__wrapped__() is scipy.optimize.linear_sum_assignment


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_assignment_does_not_depend_on_the_order_of_boxes_or_peaks(assignment):
    candidates = random_candidates(7)
    chosen = assign(candidates, assignment)
    rng = np.random.default_rng(0)
    for _ in range(20):
        boxes, peaks = rng.permutation(6), rng.permutation(9)
        np.testing.assert_array_equal(assign(candidates[boxes], assignment), chosen[boxes])
        shuffled = assign(candidates[:, :, peaks], assignment)
        np.testing.assert_array_equal(np.where(shuffled < 0, -1, peaks[shuffled]), chosen)


def test_the_best_pair_wins_and_the_loser_takes_what_remains():
    candidates = np.zeros((3, 1, 2))
    candidates[:, 0] = [[0.9, 0.8], [0.95, 0.1], [0.5, 0.0]]
    np.testing.assert_array_equal(assign(candidates)[:, 0], [1, 0, -1])
    np.testing.assert_array_equal(assign(candidates, "independent")[:, 0], [0, 0, 0])


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_nothing_is_chosen_below_the_least_score(assignment):
    candidates = np.array([[[0.0, 0.0099], [0.0, 0.0101], [0.0, 0.0]]])
    np.testing.assert_array_equal(assign(candidates, assignment), [[-1, 1, -1]])


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_the_least_score_can_be_chosen(assignment):
    candidates = np.array([[[0.002, 0.0]]])
    np.testing.assert_array_equal(assign(candidates, assignment), [[-1]])
    np.testing.assert_array_equal(assign(candidates, assignment, least=0.001), [[0]])


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_empty_assignments(assignment):
    assert assign(np.zeros((0, 17, 5)), assignment).shape == (0, 17)
    np.testing.assert_array_equal(assign(np.zeros((3, 17, 0)), assignment), np.full((3, 17), -1))


@dataclasses.dataclass
class Scene:
    """Two people side by side whose boxes overlap: each box holds all keypoints of both.

    The second person's peaks are the higher ones, so that the first box, left to itself, takes them.
    """

    boxes = np.array([[0, 0, 80, 168], [30, 0, 110, 168]], np.float32)
    box_scores = np.array([0.9, 0.8], np.float32)
    # Each joint's place in the middle of its owner's box: apart by 15 cells of the enlarged box or more.
    own = np.stack([np.stack([np.full(17, x), 4 + 10 * np.arange(17)], axis=-1) for x in (25, 85)]).astype(np.float32)

    def __post_init__(self):
        self.peaks = np.zeros((17, 3, 2), np.float32)
        self.peaks[:, 0], self.peaks[:, 1] = self.own[1], self.own[0]
        self.scores = np.zeros((17, 3), np.float32)
        self.scores[:, 0], self.scores[:, 1] = 0.9, 0.7
        self.detections = Detections(self.boxes, self.box_scores, self.peaks, self.scores)

    @property
    def candidates(self):
        return for_each_box(self.peaks, self.scores, len(self.boxes))

    def prn(self, maps):
        """Stands in for the network: each box's output is concentrated around its own person."""
        assert maps.shape == (2, 17, 56, 36)
        boxes = roi.enlarge_boxes(self.boxes, MARGIN)
        return ops.moveaxis(roi.encode_labels(self.own, np.ones((2, 17)), boxes), 3, 1)

    def people(self, grouping, prior=None):
        outputs = score_candidates(grouping, self.prn, prior, *self.candidates, self.boxes, MARGIN, WINDOW)
        outputs = [ops.convert_to_numpy(output) for output in outputs]
        return build_people(grouping, self.detections, *outputs, assignment_of(grouping, "greedy"))


def test_prn_separates_overlapping_people_where_max_fails():
    scene = Scene()
    first, second = sorted(scene.people("prn"), key=lambda person: person.box[0])
    np.testing.assert_array_equal(first.keypoints[:, :2], scene.own[0])  # the peaks themselves, not cells
    np.testing.assert_array_equal(second.keypoints[:, :2], scene.own[1])
    np.testing.assert_allclose(first.keypoints[:, 2], 0.7, atol=0.02)
    np.testing.assert_allclose(second.keypoints[:, 2], 0.9, atol=0.02)
    for person in scene.people("max"):
        np.testing.assert_array_equal(person.keypoints[:, :2], scene.own[1])
        np.testing.assert_allclose(person.keypoints[:, 2], 0.9, atol=1e-6)


def test_people_come_best_first_with_their_boxes():
    scene = Scene()
    people = scene.people("prn")
    # 0.8 x 0.9 against 0.9 x 0.7
    np.testing.assert_array_equal(people[0].box, scene.boxes[1])
    assert people[0].box_score == pytest.approx(0.8) and people[1].box_score == pytest.approx(0.9)
    for person in people:
        assert person.score == pytest.approx(person.box_score * person.keypoints[:, 2].mean(), rel=1e-5)
    assert people[0].score > people[1].score


def test_prn_sees_all_peaks_of_the_enlarged_box():
    scene = Scene()
    seen = []

    def prn(maps):
        seen.append(ops.convert_to_numpy(maps))
        return maps

    # The first person's nose lies 0.2 of the box's width to the left of it; another's far away.
    scene.peaks[0, 1] = -16, 84
    scene.peaks[1, 1] = -17, 84
    score_candidates("prn", prn, None, *scene.candidates, scene.boxes, MARGIN, WINDOW)
    # Box and margin span 113.6 x 238.56 pixels from (-16.8, -35.28).
    column, row = int((-16 + 16.8) / 113.6 * 36), int((84 + 35.28) / 238.56 * 56)
    assert seen[0][0, 0, row, column] > 0.5
    assert seen[0][0, 1, :, :4].max() < 0.01
    assert seen[0][0, 1, :, 30:].max() > 0.5  # and the other's peak at its full height


def test_argmax_takes_the_guesses():
    scene = Scene()
    for person in scene.people("prn-argmax"):
        own = scene.own[0 if person.box[0] == 0 else 1]
        cell = np.array([113.6 / 36, 238.56 / 56])
        assert (np.abs(person.keypoints[:, :2] - own) <= cell / 2 + 1e-3).all()


def test_confidences_of_argmax_are_those_of_the_peaks_that_the_prn_believes_in():
    """One cell of a blurred answer holds less than what counts as a guess."""
    scene = Scene()
    scene.scores[16] = 0  # no peak: a guess
    expected, found = (
        sorted(scene.people(grouping), key=lambda person: person.box[0]) for grouping in ("prn", "prn-argmax")
    )
    for person, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(other.keypoints[:, 2], person.keypoints[:, 2], atol=1e-6)
        assert other.score == pytest.approx(person.score, rel=1e-5) and other.score > 0.5
        assert 0 < other.keypoints[16, 2] <= 0.05


def test_ucr_weighs_peaks_by_the_joint_position():
    scene = Scene()
    prior = np.zeros((56, 36, 17), np.float32)
    # Column of the first peak in the first box: (25 + 16.8) / 113.6 x 36 = 13.2; of the second: 32.3.
    prior[:, 13], prior[:, 32] = 0.02, 0.005
    candidates, guesses, guess_scores = score_candidates(
        "ucr", None, prior, *for_each_box(scene.peaks, scene.scores, 1), scene.boxes[:1], MARGIN, WINDOW
    )
    expected = np.tile(np.array([0.9 * 0.25, 0.7, 0], np.float32), (1, 17, 1))
    np.testing.assert_allclose(ops.convert_to_numpy(candidates), expected, atol=1e-5)
    # Guessed is the middle of the first most likely cell: column 13, row 0, from (-16.8, -35.28).
    cell = np.array([113.6 / 36, 238.56 / 56])
    place = np.array([-16.8, -35.28]) + cell * (13.5, 0.5)
    np.testing.assert_allclose(ops.convert_to_numpy(guesses), np.tile(place, (1, 17, 1)), atol=1e-3)
    np.testing.assert_allclose(ops.convert_to_numpy(guess_scores), 1, atol=1e-6)


def test_geometric_adds_logarithms_of_the_joint_position():
    scene = Scene()
    prior = np.zeros((56, 36, 17), np.float32)
    prior[:, 13], prior[:, 32] = 0.02, 0.0002  # columns as above; one hundredth is half of the way to 1e-4
    candidates = score_candidates(
        "geometric", None, prior, *for_each_box(scene.peaks, scene.scores, 1), scene.boxes[:1], MARGIN, WINDOW
    )[0]
    expected = np.tile(np.array([0.9 * 0.5, 0.7, 0], np.float32), (1, 17, 1))
    np.testing.assert_allclose(ops.convert_to_numpy(candidates), expected, atol=1e-5)


def test_max_leaves_out_peaks_outside_the_enlarged_box():
    scene = Scene()
    scene.peaks[:, 0, 0] = 97  # the first box ends at 96.8 with its margin
    candidates = ops.convert_to_numpy(
        score_candidates("max", None, None, *scene.candidates, scene.boxes, MARGIN, WINDOW)[0]
    )
    np.testing.assert_array_equal(candidates[0, :, 0], 0)
    np.testing.assert_allclose(candidates[1, :, 0], 0.9)


def test_only_max_gives_one_peak_to_two_people():
    scene = Scene()
    candidates = np.zeros((2, 17, 3), np.float32)
    candidates[:, :, 2] = [[0.7], [0.9]]
    nothing = np.zeros((2, 17, 2), np.float32), np.zeros((2, 17), np.float32)
    for grouping, expected in (("prn", [0, 0.9]), ("max", [0.7, 0.9])):
        found = build_people(grouping, scene.detections, candidates, *nothing, assignment_of(grouping, "greedy"))
        people = sorted(found, key=lambda person: person.box[0])
        np.testing.assert_allclose([p.keypoints[:, 2].mean() for p in people], expected, rtol=1e-5)


def test_guesses_stand_in_at_low_confidence_and_do_not_count():
    scene = Scene()
    candidates = np.zeros((2, 17, 3), np.float32)
    candidates[0, :10, 1] = 0.6
    guesses = np.arange(2 * 17 * 2).reshape(2, 17, 2).astype(np.float32)
    person = build_people("prn", scene.detections, candidates, guesses, np.full((2, 17), 0.8, np.float32))[0]
    np.testing.assert_array_equal(person.keypoints[:10, :2], scene.own[0, :10])
    np.testing.assert_array_equal(person.keypoints[10:, :2], guesses[0, 10:])
    np.testing.assert_allclose(person.keypoints[:10, 2], 0.6)
    np.testing.assert_allclose(person.keypoints[10:, 2], 0.8 * 0.05, rtol=1e-5)
    assert person.score == pytest.approx(0.9 * 0.6, rel=1e-5)


@pytest.mark.parametrize("grouping", ["prn", "prn-argmax", "ucr", "max"])
def test_no_boxes_give_no_people(grouping):
    scene = Scene()
    boxes = np.zeros((0, 4), np.float32)
    prior = np.full((56, 36, 17), 0.1, np.float32)
    outputs = score_candidates(
        grouping, lambda rois: rois, prior, *for_each_box(scene.peaks, scene.scores, 0), boxes, MARGIN, WINDOW
    )
    outputs = [ops.convert_to_numpy(output) for output in outputs]
    assert [output.shape for output in outputs] == [(0, 17, 3), (0, 17, 2), (0, 17)]
    detections = Detections(boxes, np.zeros(0, np.float32), scene.peaks, scene.scores)
    assert build_people(grouping, detections, *outputs) == []


@pytest.mark.parametrize("grouping", ["prn", "max"])
def test_boxes_without_peaks_have_score_0(grouping):
    scene = Scene()
    scene.scores[:] = 0
    outputs = score_candidates(grouping, scene.prn, None, *scene.candidates, scene.boxes, MARGIN, WINDOW)
    people = build_people(grouping, scene.detections, *[ops.convert_to_numpy(o) for o in outputs])
    assert len(people) == 2 and all(person.score == 0 for person in people)
    assert all((person.keypoints[:, 2] <= 0.05).all() for person in people)


def test_check_grouping_names_the_value():
    with pytest.raises(UserError, match="'best'"):
        check_grouping("best", None)
    with pytest.raises(UserError, match="train_prn"):
        check_grouping("ucr", None)
    check_grouping("ucr", np.zeros((56, 36, 17)))
    check_grouping("prn", None)


@pytest.mark.parametrize(("grouping", "taken"), [("prn", False), ("ucr", True), ("geometric", True), ("max", True)])
def test_only_the_prn_prefers_its_guess_to_an_unlikely_peak(grouping, taken):
    scene = Scene()
    candidates = np.zeros((2, 17, 3), np.float32)
    candidates[0, :, 1] = 0.002
    guesses = np.full((2, 17, 2), 7, np.float32)
    people = build_people(
        grouping, scene.detections, candidates, guesses, np.ones((2, 17), np.float32), assignment_of(grouping, "greedy")
    )
    first = min(people, key=lambda person: person.box[0])
    np.testing.assert_array_equal(first.keypoints[:, :2], scene.own[0] if taken else guesses[0])


@pytest.mark.parametrize("assignment", ["greedy", "optimal"])
def test_a_doubtful_box_does_not_take_the_peaks_of_a_sure_one(assignment):
    """Both boxes claim the one nose; the doubtful one, tight around the head, a little more."""
    peaks, peak_scores = np.zeros((17, 1, 2), np.float32), np.zeros((17, 1), np.float32)
    peaks[0], peak_scores[0] = (30, 20), 1
    boxes = np.float32([[0, 0, 60, 160], [15, 5, 45, 40]])
    candidates = np.zeros((2, 17, 1), np.float32)
    candidates[:, 0, 0] = 0.6, 0.8
    for box_scores, owner in (((0.6, 0.2), 0), ((0.6, 0.5), 1)):
        detections = Detections(boxes, np.float32(box_scores), peaks, peak_scores)
        guesses, guess_scores = np.zeros((2, 17, 2), np.float32), np.zeros((2, 17), np.float32)
        people = build_people("prn", detections, candidates, guesses, guess_scores, assignment)
        found = {tuple(person.box): person.keypoints[0, 2] for person in people}
        assert found[tuple(boxes[owner])] == candidates[owner, 0, 0]  # its confidence is not the box's
        assert found[tuple(boxes[1 - owner])] == 0
