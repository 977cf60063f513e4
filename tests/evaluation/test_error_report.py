"""What errors cost, where by construction one correction makes everything right; counts, files and the command."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from coco_people import annotation, detection, ground_truth, labels, moved

import evaluate as script
from mpn.cli.script import run
from mpn.config import ModelConfig
from mpn.evaluation.coco import evaluate_keypoints
from mpn.evaluation.errors.chart import draw_errors, draw_worst
from mpn.evaluation.errors.gains import CORRECTIONS, correct, gains, without
from mpn.evaluation.errors.pose_errors import ERRORS, diagnose, outside_box
from mpn.evaluation.errors.report import (
    DETECTIONS,
    OVERLAP_BINS,
    PEOPLE,
    shares,
    summarise,
    worst_matches,
    write_error_report,
)
from mpn.images import read_image, write_image
from mpn.model_directory import save_config
from mpn.skeleton import KEYPOINTS, MIRROR

FACE = list(range(5))


def spoilt(kind, scores=(0.9, 0.8)):
    """Two images of two people each, found all but for one kind of error."""
    people, results = [], []
    for image, score in zip((1, 2), scores, strict=True):
        first, second = labels(), labels(x=1000)
        people += [annotation(first, image), annotation(second, image)]
        found = first.copy()
        if kind == "jitter":
            found[:, :2] = [moved(point, joint, 0.7) for joint, point in enumerate(first)]
        elif kind == "inversion":
            found[5:] = first[MIRROR][5:]
        elif kind == "swap":
            found[5:13] = second[5:13]
        elif kind == "miss":
            found[5:13, 1] += 3000
        results += [detection(second, score, image)]
        if kind != "not found":
            results += [detection(found, score - 0.02, image)]
    if kind == "duplicates":  # better scored than the people of the second image
        results.append(detection(first + (2, 0, 0), 0.85, 1))
    if kind == "background":
        results.append(detection(labels(y=5000), 0.85, 1))
    if kind == "scores":  # as poor as they are, they come first
        results += [detection(labels() + (0, 12, 0), 0.95, 3), detection(labels(y=5000), 0.94, 3)]
        people.append(annotation(labels(), 3))
    return ground_truth(*people, images=[3]), results, [1, 2, 3]


@pytest.mark.parametrize("kind", ["jitter", "inversion", "swap", "miss", "duplicates", "background", "not found"])
def test_the_right_correction_makes_everything_right(kind):
    truth, results, ids = spoilt(kind)
    before = json.dumps(results)
    gained = gains(truth, results, ids, diagnose(truth, results, ids))
    assert json.dumps(results) == before and list(gained) == ["as it is", *CORRECTIONS]
    assert gained["as it is"]["AP"] == evaluate_keypoints(truth, results, ids)["AP"] < 0.95
    assert gained[kind]["AP"] == gained[kind]["AP50"] == gained[kind]["APL"] == pytest.approx(1)
    assert gained[kind]["gain"] == pytest.approx(1 - gained["as it is"]["AP"])
    of_keypoints = kind in ERRORS
    assert gained["all keypoints"]["AP"] == (pytest.approx(1) if of_keypoints else gained["as it is"]["AP"])
    for other in set(CORRECTIONS) - {kind, "all keypoints", "scores"}:
        assert gained[other]["gain"] == 0, other
    assert gained["as it is"]["APM"] == gained[kind]["APM"] == -1  # nobody is of medium size


def test_better_scores_put_the_good_poses_first():
    truth, results, ids = spoilt("scores")
    gained = gains(truth, results, ids, diagnose(truth, results, ids))
    assert gained["scores"]["gain"] > 0.05
    # Every threshold that all people reach has an AP of 1 then: the detection of nobody comes last.
    assert gained["as it is"]["AP50"] < 0.95 and gained["scores"]["AP50"] == pytest.approx(1)


def test_a_duplicate_better_than_its_better_scored_rival_is_a_loss():
    poor = labels()
    poor[5:, 1] += 3000
    truth, results = ground_truth(annotation(labels())), [detection(poor, 0.9), detection(labels(), 0.8)]
    gained = gains(truth, results, [1], diagnose(truth, results, [1]))
    assert gained["duplicates"]["gain"] == -gained["as it is"]["AP"] < 0 < gained["scores"]["gain"]


def test_only_the_keypoints_with_the_error_are_corrected():
    truth, results, ids = spoilt("swap")
    results[1]["keypoints"][0] += 12  # the nose of the first person is jitter or worse
    diagnosis = diagnose(truth, results, ids)
    corrected = correct(results, diagnosis, "swap")
    pose = np.reshape(corrected[1]["keypoints"], (17, 3))
    assert pose[1:].tolist() == labels()[1:].tolist() and pose[0, 0] == labels()[0, 0] + 12
    assert [result["score"] for result in corrected] == [result["score"] for result in results]


def test_what_is_not_labelled_is_not_corrected():
    person, found = labels(), labels()
    person[9] = 0
    found[9:, 1] += 3000
    results = [detection(found)]
    corrected = correct(results, diagnose(ground_truth(annotation(person)), results, [1]), "miss")
    expected = labels()
    expected[9, 1] += 3000
    assert np.reshape(corrected[0]["keypoints"], (17, 3)).tolist() == expected.tolist()


def test_keypoints_outside_the_enlarged_box():
    """The box of 100 x 100 pixels grows by a tenth to each side: from -10 to 110."""
    keypoints = np.zeros((17, 3))
    keypoints[:6] = [(-11, 50, 2), (-10, 50, 2), (50, 109, 1), (50, 110, 2), (110, 50, 0), (50, 50, 2)]
    assert np.flatnonzero(outside_box(keypoints, [0, 0, 100, 100], 0.1)).tolist() == [0, 3]
    assert not outside_box(keypoints, [0, 0, 100, 100], np.inf).any()


def test_what_the_prn_cannot_see_is_counted_and_costs():
    """Of two shoulders that are missed, the person's box leaves out one; the nose is left out too, and is right."""
    person, found = labels(), labels()
    found[[5, 6], 1] += 3000
    low, high = person[[1, 6], :2]  # with the left eye and the right shoulder as corners
    truth, results = ground_truth(annotation(person, box=(*low, *(high - low + 1)))), [detection(found)]
    diagnosis = diagnose(truth, results, [1], margin=0.0)
    outside = diagnosis.matches[0].outside
    assert outside[[0, 5]].all() and not outside[[1, 6]].any()
    counts = summarise(diagnosis, results)["box"]
    assert counts["outside"] == dict(zip(ERRORS, (outside.sum() - 1, 0, 0, 0, 1), strict=True))
    assert counts["inside"] == dict(zip(ERRORS, ((~outside).sum() - 1, 0, 0, 0, 1), strict=True))
    corrected = np.reshape(correct(results, diagnosis, "outside the box")[0]["keypoints"], (17, 3))
    assert corrected[5].tolist() == person[5].tolist() and corrected[6].tolist() == found[6].tolist()


def test_the_worst_come_from_distinct_images_and_have_three_keypoints_or_more():
    people, results = [], []
    for image, wrong in ((1, 9), (2, 12), (3, 0), (4, 2)):
        for x, count in ((0, wrong), (1000, wrong // 2)):
            person, found = labels(x=x), labels(x=x)
            found[:count, 1] += 3000
            if image == 4:
                person[2:, 2] = 0
            people.append(annotation(person, image))
            results.append(detection(found, image=image))
    truth = ground_truth(*people)
    worst = worst_matches(diagnose(truth, results, [1, 2, 3, 4]), results)
    assert [results[match.result]["image_id"] for match in worst] == [2, 1]
    assert [match.oks for match in worst] == pytest.approx([5 / 17, 8 / 17])


def test_photographs_lie_below_the_worst_where_they_exist(make_record, tmp_path):
    truth, results, ids = spoilt("miss")
    worst = worst_matches(diagnose(truth, results, ids), results)
    write_image(tmp_path / "1.png", np.zeros((60, 80, 3), np.uint8))
    records = [make_record(width=80, height=60, path=tmp_path / f"{image}.png", identity=image) for image in (1, 2)]
    panels = draw_worst(worst, results, records).axes
    assert [axes.get_title()[:8] for axes in panels] == ["image 1:", "image 2:"]
    assert [len(axes.images) for axes in panels] == [1, 0]
    left, right = panels[1].get_xlim()
    bottom, top = panels[1].get_ylim()
    assert left < 0 and right > 320 and bottom > 3000 and top < 0  # labels and misses, y downwards


def test_without_some_people():
    truth = ground_truth(*(annotation(labels(), image) for image in (1, 2, 3)))
    assert without(truth, {1: 0, 3: 2}).getAnnIds() == [2] and truth.getAnnIds() == [1, 2, 3]
    assert without(truth, [2]).getImgIds() == [1, 2, 3]


def test_counts():
    """Of three people who overlap, a fourth alone and a fifth not found, all errors are known."""
    people = [labels(), labels(x=30), labels(y=25), labels(x=1000), labels(x=1000, y=1000)]
    people[3][FACE, 2] = 0
    found = [person.copy() for person in people[:4]]
    found[0][0] = found[1][0] = (5000, 5000, 1)
    found[3][9] = people[3][10]
    results = [detection(pose) for pose in found] + [detection(labels(y=5000)), detection(people[3], 0.1)]
    results[0]["keypoints"][2] = 0.3  # the nose that is near nothing; all others are sure
    counts = summarise(diagnose(ground_truth(*map(annotation, people)), results, [1]), results)
    assert counts["detections"] == {"all": dict(zip(DETECTIONS, (4, 1, 1, 0), strict=True))}
    assert counts["keypoints"]["nose"] == dict(zip(ERRORS, (1, 0, 0, 0, 2), strict=True))
    assert counts["keypoints"]["left_wrist"] == dict(zip(ERRORS, (3, 0, 1, 0, 0), strict=True))
    assert counts["keypoints"]["right_wrist"] == dict(zip(ERRORS, (4, 0, 0, 0, 0), strict=True))
    assert counts["keypoints"]["all"] == dict(zip(ERRORS, (3 * 17 + 12 - 3, 0, 1, 0, 2), strict=True))
    assert list(counts["keypoints"]) == [*KEYPOINTS, "all"]
    assert counts["confidence"]["from 0.3"] == dict(zip(ERRORS, (0, 0, 0, 0, 1), strict=True))
    assert sum(counts["confidence"]["from 0.9"].values()) == sum(counts["keypoints"]["all"].values()) - 1
    overlap = counts["overlap"]
    assert list(overlap) == [*OVERLAP_BINS, "all"]
    assert overlap["0"] == dict(zip(ERRORS + PEOPLE, (11, 0, 1, 0, 0, 1, 1), strict=True))
    assert overlap["1-2"] == dict(zip(ERRORS + PEOPLE, (49, 0, 0, 0, 2, 3, 0), strict=True))
    assert overlap["all"] == dict(zip(ERRORS + PEOPLE, (60, 0, 1, 0, 2, 4, 1), strict=True))
    assert not any(overlap["3-4"].values())


@pytest.mark.parametrize(
    ("others", "bin_name"),
    [(0, "0"), (1, "1-2"), (2, "1-2"), (3, "3-4"), (4, "3-4"), (5, "5 and more"), (8, "5 and more")],
)
def test_bins_of_overlap(others, bin_name):
    people = [annotation(labels()) for _ in range(others + 1)]
    overlap = summarise(diagnose(ground_truth(*people), [], [1]), [])["overlap"]
    assert overlap.pop("all")["not found"] == overlap.pop(bin_name)["not found"] == others + 1
    assert not any(row["not found"] for row in overlap.values())


def test_shares_are_of_keypoints_or_of_people():
    row = dict(zip(ERRORS + PEOPLE, (6, 1, 1, 0, 2, 3, 1), strict=True))
    assert shares(row, ERRORS) == pytest.approx([0.6, 0.1, 0.1, 0, 0.2])
    assert shares(row, PEOPLE) == pytest.approx([0.75, 0.25])
    assert shares(dict.fromkeys(PEOPLE, 0), PEOPLE) == [-1, -1]


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_files_agree(tmp_path, capsys):
    truth, results, ids = spoilt("inversion")
    report = write_error_report(tmp_path, truth, results, ids, {"split": "val"})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["errors.json", "errors.png", "worst.png"]
    assert json.loads((tmp_path / "errors.json").read_text()) == report and report["settings"] == {"split": "val"}
    out = capsys.readouterr().out
    assert "| 3-4 | 0 | - | - | - | - | - | - | - |" in out
    gain = report["gains"]["inversion"]["gain"]
    assert f"| inversion | 1.000 | 1.000 | 1.000 | - | 1.000 | +{gain:.3f} |".replace("+0", "+") in out
    assert [(worst["image_id"], worst["errors"]["inversion"]) for worst in report["worst"]] == [(1, 12), (2, 12)]
    for name, width in (("errors.png", 1200), ("worst.png", 800)):
        picture = read_image(tmp_path / name)
        assert picture.shape[1] > width and len(np.unique(picture.reshape(-1, 3), axis=0)) > 50


def test_picture_shows_the_gains_and_the_shares():
    truth, results, ids = spoilt("inversion")
    diagnosis = diagnose(truth, results, ids)
    counts, gained = summarise(diagnosis, results), gains(truth, results, ids, diagnosis)
    bars, overlap, keypoints = draw_errors(counts, gained).axes
    widths = [bar.get_width() for bar in bars.patches]
    assert widths == pytest.approx([row["gain"] for row in list(gained.values())[1:]])
    names = [label.get_text() for label in bars.get_yticklabels()]
    assert names[1] == "inversion: 24 keypoints" and names[-1] == "not found: 0 people" and names[4] == "all keypoints"
    heights = np.array([bar.get_height() for bar in keypoints.patches]).reshape(4, 18)
    assert heights[1] == pytest.approx([0] * 5 + [50] * 12 + [100 * 24 / 68]) and not heights[[0, 2, 3]].any()
    assert [text.get_text() for text in overlap.texts] == ["35", "none", "none", "none", "35"]


def test_nobody_to_find_and_nothing_found(tmp_path):
    report = write_error_report(tmp_path, ground_truth(images=[1]), [], [1], {})
    assert all(row.get("gain") is None and row["AP"] == -1 for row in report["gains"].values())
    assert not any(count for rows in report["counts"].values() for row in rows.values() for count in row.values())
    report = write_error_report(tmp_path, ground_truth(annotation(labels())), [], [1], {})
    assert report["counts"]["overlap"]["all"]["not found"] == 1 and report["gains"]["as it is"]["AP"] == 0
    assert report["gains"]["not found"]["AP"] == -1  # nobody is left


def run_script(*arguments):
    with pytest.raises(SystemExit) as stopped:
        run(script.main, [str(argument) for argument in arguments])
    return stopped.value.code


def evaluated(synthetic_coco, folder, grouping, *more):
    save_config(ModelConfig(), folder / "model")
    sources = ["--keypoints", "ground-truth", "--boxes", "ground-truth", "--grouping", grouping]
    shared = ["--coco", synthetic_coco, "--model", folder / "model", "--output", folder]
    written = ["--metrics", folder / "metrics.json", "--errors", folder / "e" / "new"]
    assert run_script(*shared, *sources, *written, *more) == 0
    return [json.loads((folder / name).read_text()) for name in ("metrics.json", "e/new/errors.json")]


def test_the_command(synthetic_coco, tmp_path):
    metrics, report = evaluated(synthetic_coco, tmp_path, "max", "--curves", tmp_path / "c")
    assert report["gains"]["as it is"]["AP"] == metrics["keypoints"]["AP"] < 0.95
    assert report["settings"] == metrics["settings"]
    assert report["gains"]["swap"]["gain"] > 0  # Max takes other people's
    lines = read(tmp_path / "c" / "recall_precision.csv")
    average = np.mean([float(line["precision"]) for line in lines if line["area"] == "all"])
    assert average == pytest.approx(metrics["keypoints"]["AP"], abs=1e-5)


def test_ground_truth_has_no_errors(synthetic_coco, tmp_path):
    _, report = evaluated(synthetic_coco, tmp_path, "oracle")
    all_keypoints = report["counts"]["keypoints"]["all"]
    assert all_keypoints["good"] == sum(all_keypoints.values()) > 50
    assert all(abs(row.get("gain", 0)) < 1e-6 for row in report["gains"].values())


@pytest.mark.parametrize("flag", ["--curves", "--errors"])
def test_mistakes_are_one_sentence(synthetic_coco, tmp_path, capsys, flag):
    def sentence(*arguments):
        assert run_script("--coco", synthetic_coco, flag, *arguments) == 1
        error = capsys.readouterr().err.strip()
        assert len(error.splitlines()) == 1
        return error

    assert "test-dev has no ground truth" in sentence(tmp_path / "a", "--split", "test-dev")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    output = ["--output", tmp_path / "results"]
    assert str(tmp_path / "file") in sentence(tmp_path / "file", *output)
    assert str(tmp_path / "file") in sentence(tmp_path / "file" / "below", *output)


def test_matplotlib_is_imported_only_to_draw():
    code = "import sys, mpn.evaluation.curves, mpn.evaluation.errors.report; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
