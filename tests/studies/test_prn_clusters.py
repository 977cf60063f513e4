"""Figure 2, right: OKS against pycocotools, k-means on poses whose clusters are known, and the picture."""

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mpn.cli.script import run
from mpn.config import ModelConfig
from mpn.data.prn import collect_people
from mpn.errors import UserError
from mpn.images import read_image
from mpn.model_directory import load_networks, save_networks
from mpn.models.networks import Networks
from mpn.roi import ROI_HEIGHT, ROI_WIDTH
from mpn.skeleton import KEYPOINTS
from mpn.studies import prn_clusters as script
from mpn.studies.prn_clusters import (
    ROI_AREA,
    cluster_poses,
    draw_clusters,
    pose_similarity,
    prn_clusters,
    prn_poses,
)

# A person seen from the front, in cells of the grid.
STANDING = np.float32(
    [
        (18, 11), (19, 10), (17, 10), (21, 11), (15, 11), (23, 17), (13, 17), (25, 24), (11, 24),
        (25, 31), (11, 31), (21, 31), (15, 31), (21, 39), (15, 39), (21, 47), (15, 47),
    ]
)  # fmt: skip
SITTING = STANDING * (1, 0.6) + (0, 20)
FROM_BEHIND = STANDING * (-1, 1) + (ROI_WIDTH, 0)
KINDS = np.float32([STANDING, SITTING, FROM_BEHIND])
GRID = ROI_HEIGHT / ROI_WIDTH  # the proportion that the grid leaves as it is


def people(counts=(30, 20, 10), noise=0.5, seed=0):
    """Poses around KINDS, the keypoints that count, and whose pose each is."""
    rng = np.random.default_rng(seed)
    kinds = rng.permutation(np.repeat(np.arange(len(KINDS)), counts))
    poses = KINDS[kinds] + rng.normal(0, noise, (len(kinds), 17, 2))
    weights = (rng.random(poses.shape[:2]) < 0.8).astype(np.float32)
    weights[:, :8] = 1
    poses[weights == 0] = 1000  # must make no difference
    return poses.astype(np.float32), weights, kinds


def test_similarity_is_that_of_pycocotools():
    rng = np.random.default_rng(0)
    poses = (STANDING + rng.normal(0, 2, (3, 17, 2))).astype(np.float32)
    means = (STANDING + rng.normal(0, 2, (4, 17, 2))).astype(np.float32)
    weights = (rng.random((3, 17)) < 0.6).astype(np.float32)
    labels = [
        {
            "id": i + 1,
            "image_id": 1,
            "category_id": 1,
            "keypoints": np.concatenate([pose, 2 * weight[:, None]], axis=1).ravel().tolist(),
            "num_keypoints": int(weight.sum()),
            "area": ROI_AREA,
            "bbox": [0, 0, ROI_WIDTH, ROI_HEIGHT],
            "iscrowd": 0,
        }
        for i, (pose, weight) in enumerate(zip(poses, weights, strict=True))
    ]
    results = [
        {
            "image_id": 1,
            "category_id": 1,
            "score": 1 - i / 10,
            "keypoints": np.pad(mean, ((0, 0), (0, 1))).ravel().tolist(),
        }
        for i, mean in enumerate(means)
    ]
    truth = COCO()
    truth.dataset = {"info": {}, "images": [{"id": 1}], "categories": [{"id": 1}], "annotations": labels}
    truth.createIndex()
    evaluation = COCOeval(truth, truth.loadRes(results), "keypoints")
    evaluation.evaluate()
    expected = evaluation.ious[1, 1].T  # pycocotools has predictions in rows
    similarities = pose_similarity(poses, means, weights)
    assert similarities.shape == (3, 4) and np.ptp(expected) > 0.05
    np.testing.assert_allclose(similarities, expected, atol=1e-5)


def test_similarity_by_hand():
    assert pose_similarity(STANDING[None], STANDING[None], np.ones((1, 17))) == pytest.approx(1)
    moved = STANDING.copy()
    moved[KEYPOINTS.index("left_hip"), 0] += 2 * 0.107 * np.sqrt(56 * 36)  # 2 sigma, times the root of the area
    hip = np.arange(17) == KEYPOINTS.index("left_hip")
    similarity = pose_similarity(moved[None], STANDING[None], hip[None])
    assert similarity == pytest.approx(np.exp(-0.5), rel=1e-5)
    assert pose_similarity(moved[None], STANDING[None], np.zeros((1, 17))) == 0


@pytest.mark.parametrize("seed", range(5))
def test_known_clusters_are_found(seed):
    poses, weights, kinds = people(seed=seed)
    means, counts, assignment = cluster_poses(poses, weights, 3, seed)
    assert counts.tolist() == [30, 20, 10]  # the largest first
    assert (assignment == kinds).all()
    assert np.abs(means[..., :2] - KINDS).max() < 1
    np.testing.assert_allclose(means[0, :, 2], weights[kinds == 0].mean(axis=0), rtol=1e-5)


def test_equal_seeds_give_equal_clusters():
    poses, weights, _ = people(noise=3)
    first, again = (cluster_poses(poses, weights, 5, seed=7) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        assert (one == other).all()


@pytest.mark.parametrize("clusters", [1, 4, 12])
def test_no_cluster_is_empty(clusters):
    poses = np.repeat(KINDS, 4, axis=0)  # three different poses only
    means, counts, assignment = cluster_poses(poses, np.ones((12, 17)), clusters)
    assert means.shape == (min(clusters, 3), 17, 3) and np.isfinite(means).all()
    assert (counts > 0).all() and (np.bincount(assignment) == counts).all()


def test_a_keypoint_that_nobody_has():
    poses, weights, _ = people()
    weights[:, KEYPOINTS.index("nose")] = 0
    means, _, _ = cluster_poses(poses, weights, 3)
    assert (means[:, 0, 2] == 0).all() and np.isfinite(means).all()


def skeletons(figure):
    """The width and height of each skeleton of a figure, in cells."""
    return [axes.dataLim.size.tolist() for axes in figure.axes if axes.lines]


@pytest.mark.parametrize("clusters", [1, 2, 5, 6])
def test_every_cluster_has_a_drawing(clusters):
    means = np.concatenate([KINDS, KINDS])[:clusters]
    means = np.concatenate([means, np.ones((clusters, 17, 1))], axis=2)
    figure = draw_clusters(means, [3] + [1] * (clusters - 1), [GRID] * clusters)
    assert len(skeletons(figure)) == clusters
    assert figure.axes[0].get_title() == f"{300 / (clusters + 2):.0f} %"
    assert all(axes.yaxis_inverted() for axes in figure.axes[:clusters])


def test_proportions_undo_the_grids_stretching():
    means = np.concatenate([[STANDING, STANDING], np.ones((2, 17, 1))], axis=2)
    (width, height), tall = skeletons(draw_clusters(means, [1, 1], [GRID, 2 * GRID]))
    assert (width, height) == pytest.approx(np.ptp(STANDING, axis=0)) and tall == pytest.approx((width, 2 * height))


def test_keypoints_of_few_members_are_not_drawn():
    legs = np.array([name.endswith(("knee", "ankle")) for name in KEYPOINTS])
    mean = np.concatenate([STANDING, np.where(legs, 0.4, 1)[:, None]], axis=1)
    complete = np.concatenate([STANDING, np.ones((17, 1))], axis=1)
    (whole,), (half,) = (skeletons(draw_clusters(one[None], [1], [GRID])) for one in (complete, mean))
    assert half[1] / half[0] < 0.7 * whole[1] / whole[0]
    assert not skeletons(draw_clusters(mean[None] * (1, 1, 0.1), [1], [GRID]))


def test_left_limbs_are_warm():
    mean = np.concatenate([STANDING, np.ones((17, 1))], axis=1)
    of_left_arm = [line for line in draw_clusters(mean[None], [1], [GRID]).axes[0].lines if max(line.get_xdata()) == 25]
    assert len(of_left_arm) == 2 and all(line.get_color()[0] > line.get_color()[2] for line in of_left_arm)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model directory with a small PRN: untrained, it repeats its input, and is sure of where there is a peak."""
    directory = tmp_path_factory.mktemp("model")
    save_networks(Networks(ModelConfig(prn_nodes=8, prn_residual_gain=True)), directory, ("prn",))
    return directory


def run_script(*arguments):
    with pytest.raises(SystemExit) as stopped:
        run(script.main, [str(argument) for argument in arguments])
    return stopped.value.code


def test_the_command_needs_labels_alone(synthetic_coco, model, tmp_path, capsys):
    labels = synthetic_coco / "annotations" / "person_keypoints_val2017.json"
    file = tmp_path / "new" / "clusters.png"
    shared = [file, "--model", model, "--clusters", 3]
    assert run_script("--annotations", labels, *shared) == 0
    assert "3 clusters" in capsys.readouterr().out
    assert [path.name for path in file.parent.iterdir()] == ["clusters.png"]
    image = read_image(file)
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 50
    assert run_script("--coco", synthetic_coco, *shared) == 0
    assert (read_image(file) == image).all()


def test_an_untrained_prn_repeats_the_keypoints(make_record, model):
    box = np.float32([10, 20, 46, 76])  # as large as the grid, which a margin of 0 leaves it
    networks = load_networks(model, ("prn",))
    networks.config = networks.config.replace(prn_margin=0)
    keypoints = {index: (*(place + box[:2] + 0.5), 2) for index, place in enumerate(STANDING)}
    few = dict(list(keypoints.items())[:7])
    records = [
        make_record({"box": box, "keypoints": keypoints}),
        make_record({"box": box, "keypoints": few}),  # too few to count
    ]
    means, counts, proportions = prn_clusters(networks, records, 1)
    assert counts.tolist() == [1] and proportions == pytest.approx(GRID)
    np.testing.assert_allclose(means[0, :, :2], STANDING + 0.5, atol=1e-4)
    with pytest.raises(UserError, match="fewer --clusters"):
        prn_clusters(networks, records, 2)


def test_only_keypoints_that_the_prn_is_sure_of_have_weight(make_record, model):
    box = np.float32([10, 20, 46, 76])
    networks = load_networks(model, ("prn",))
    keypoints = {index: (*(STANDING[index] + box[:2]), 2) for index in range(17)}
    eight = {index: keypoints[index] for index in range(9, 17)}
    seven = {index: keypoints[index] for index in range(10, 17)}
    records = [make_record({"box": box, "keypoints": labelled}) for labelled in (eight, keypoints, seven)]
    poses, weights, boxes = prn_poses(networks, collect_people(records))
    assert poses.shape == (2, 17, 2) and (boxes == box).all()  # seven labels are too few
    assert weights.sum(axis=1).tolist() == [17, 8]  # many keypoints first, as in training
    assert (weights[1] > 0).tolist() == [index in eight for index in range(17)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["clusters.jpg"], ".png"),
        (["clusters.png", "--annotations", "nowhere.json"], "nowhere.json"),
        (["clusters.png", "--clusters", "1000"], "1000 clusters"),
        (["clusters.png", "--model", "none"], "none"),
    ],
)
def test_mistakes_are_one_sentence(synthetic_coco, model, tmp_path, capsys, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    which = [] if "--model" in arguments else ["--model", model]
    assert run_script("--coco", synthetic_coco, *which, *arguments) == 1
    error = capsys.readouterr().err.strip()
    assert words in error and len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())
