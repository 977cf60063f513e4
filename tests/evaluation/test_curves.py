"""Recall-precision curves against pycocotools' own numbers, their table and their picture."""

import csv

import numpy as np
import pytest
from coco_people import annotation, detection, ground_truth, labels, moved

from mpn.evaluation.coco import evaluate_keypoints
from mpn.evaluation.curves import AREAS, COLUMNS, draw_curves, recall_precision_curves, write_curves
from mpn.images import read_image

IMAGES = range(1, 13)


def people_and_results(noise):
    """Twelve images of two people, one of medium and one of large area, found with noise of so many pixels."""
    rng = np.random.default_rng(0)
    people, results = [], []
    for image in IMAGES:
        for keypoints, area in ((labels(), 50.0**2), (labels(x=1000), 100.0**2)):
            people.append(annotation(keypoints, image, area=area))
            found = keypoints + noise * rng.uniform() * rng.normal(size=keypoints.shape)
            results.append(detection(found, float(rng.uniform()), image))
    return ground_truth(*people), results, IMAGES


@pytest.fixture(scope="module")
def imperfect():
    return people_and_results(noise=12)


def test_ground_truth_has_precision_one_everywhere():
    _, _, precisions = recall_precision_curves(*people_and_results(noise=0))
    assert precisions.shape == (10, 101, 3) and precisions == pytest.approx(1)


def test_means_of_curves_are_cocos_numbers(imperfect):
    _, _, precisions = recall_precision_curves(*imperfect)
    metrics = evaluate_keypoints(*imperfect)
    assert 0.05 < metrics["AP"] < 0.95
    averages = precisions.mean(axis=1)
    assert averages[:, 0].mean() == pytest.approx(metrics["AP"])
    assert averages[[0, 5], 0] == pytest.approx([metrics["AP50"], metrics["AP75"]])
    assert averages[:, 1].mean() == pytest.approx(metrics["APM"])
    assert averages[:, 2].mean() == pytest.approx(metrics["APL"])


def test_one_of_two_people_found():
    """The other half of the recall is never reached, and an OKS of .81 counts up to that threshold."""
    people = [labels(), labels(x=1000)]
    truth = ground_truth(*map(annotation, people))
    found = np.concatenate([[moved(p, joint, 0.81) for joint, p in enumerate(people[0])], np.ones((17, 1))], axis=1)
    thresholds, recalls, precisions = recall_precision_curves(truth, [detection(found)], [1])
    for threshold, curve in zip(thresholds, precisions[..., 0], strict=True):
        expected = (recalls <= 0.5) & (threshold < 0.81)
        assert curve == pytest.approx(expected.astype(float)), threshold


def legend_shares(figure):
    """(areas, thresholds) float, what the legends say."""
    texts = [axes.get_legend().get_texts() for axes in figure.axes]
    return np.array([[float(text.get_text().split("AP ")[1]) for text in panel] for panel in texts])


def test_legends_and_titles_say_cocos_ap(imperfect):
    metrics = evaluate_keypoints(*imperfect)
    figure = draw_curves(*recall_precision_curves(*imperfect))
    shares = legend_shares(figure)
    assert shares.shape == (3, 10)
    assert shares[0, [0, 5]] == pytest.approx([metrics["AP50"], metrics["AP75"]], abs=5e-4)
    assert shares.mean(axis=1) == pytest.approx([metrics[name] for name in ("AP", "APM", "APL")], abs=5e-4)
    for axes, name in zip(figure.axes, ("AP", "APM", "APL"), strict=True):
        assert float(axes.get_title().split("AP ")[1]) == pytest.approx(metrics[name], abs=5e-4)
        assert axes.get_xlabel() == "recall"
    assert figure.axes[0].get_ylabel() == "precision"


def test_table_and_picture(imperfect, tmp_path):
    thresholds, recalls, precisions = write_curves(tmp_path, *imperfect)
    with open(tmp_path / "recall_precision.csv", newline="") as file:
        header, *lines = csv.reader(file)
    assert tuple(header) == COLUMNS and len(lines) == 3 * 10 * 101
    values = np.array([[float(value) for value in line[1:]] for line in lines]).reshape(3, 10, 101, 3)
    assert [line[0] for line in lines[:: 10 * 101]] == list(AREAS)
    assert values[..., 0] == pytest.approx(np.broadcast_to(thresholds[:, None], (3, 10, 101)))
    assert values[..., 1] == pytest.approx(np.broadcast_to(recalls, (3, 10, 101)))
    assert values[..., 2].transpose(1, 2, 0) == pytest.approx(precisions, abs=1e-6)
    picture = read_image(tmp_path / "recall_precision.png")
    assert picture.shape[1] > 1200 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 50


def test_sizes_that_nobody_has_are_left_out(tmp_path):
    """AREA is that of large people."""
    truth = ground_truth(annotation(labels()))
    curves = write_curves(tmp_path, truth, [detection(labels())], [1])
    assert (curves[2][..., 1] == -1).all() and curves[2][..., 2] == pytest.approx(1)
    with open(tmp_path / "recall_precision.csv", newline="") as file:
        assert {line["area"] for line in csv.DictReader(file)} == {"all", "large"}
    medium = draw_curves(*curves).axes[1]
    assert medium.get_legend() is None and "nobody" in medium.texts[0].get_text() and "AP" not in medium.get_title()


def test_no_results_have_precision_zero():
    curves = recall_precision_curves(ground_truth(annotation(labels())), [], [1])
    assert (curves[2][..., 0] == 0).all()
    draw_curves(*curves)
