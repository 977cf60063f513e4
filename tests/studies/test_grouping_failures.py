"""Causes of grouping failures on hand-made people, OKS against pycocotools, pictures, and the command."""

import dataclasses
import json
import types

import numpy as np
import pytest
from pycocotools.cocoeval import COCOeval

from mpn.cli.script import run
from mpn.config import ModelConfig
from mpn.data.coco import annotation_file, load_annotations, load_coco
from mpn.errors import UserError
from mpn.evaluation.coco import load_ground_truth
from mpn.evaluation.results import keypoint_results
from mpn.images import read_image
from mpn.model_directory import save_config, save_networks
from mpn.models.networks import Networks
from mpn.people import Person
from mpn.studies import failure_drawing, grouping_failures, grouping_verdicts

MARGIN = 0.2
LEFT_BOX, RIGHT_BOX, FAR_BOX = (10, 10, 50, 110), (40, 10, 80, 110), (120, 20, 150, 60)
GUESS = (5.0, 5.0, 0.03)


class FakeModel:
    """Gives each box the keypoints that `choose` gives for its image and place among the labelled people."""

    config = types.SimpleNamespace(prn_margin=MARGIN)

    def __init__(self, *choices):
        self.choices = list(choices)

    def group_all(self, images):
        found = []
        for detections in images:
            results = self.choices.pop(0)
            people = [
                Person(box, 1.0, np.array(keypoints, np.float32), 1.0)
                for box, keypoints in zip(detections.boxes, results, strict=True)
            ]
            found.append(people[::-1])  # as with the PRN, their order says nothing
        return found


@pytest.fixture
def trio(make_record):
    """Two people whose boxes overlap and a third far away; the first one's ankle (15) is outside the enlarged box."""
    first = {0: (30, 20, 2), 5: (20, 40, 2), 9: (15, 70, 1), 13: (25, 90, 2), 15: (25, 140, 2)}
    second = {0: (60, 20, 2), 5: (50, 40, 2), 9: (45, 70, 2), 13: (55, 90, 2)}
    third = {0: (130, 30, 2), 9: (140, 50, 2)}
    boxes = (LEFT_BOX, RIGHT_BOX, FAR_BOX)
    people = [{"box": box, "keypoints": k} for box, k in zip(boxes, (first, second, third), strict=True)]
    return make_record({"box": (0, 0, 9, 9)}, *people, width=200, height=150)  # the first has no keypoints


def true_results(record):
    """The labelled people's keypoints with confidence 1, and guesses for what is not labelled."""
    truth = record.keypoints[record.labelled]
    labelled = truth[..., 2:] > 0
    return np.where(labelled, truth * (1, 1, 0) + (0, 0, 1), GUESS)


def judged(record, results):
    (verdicts,) = grouping_verdicts.judge_all(FakeModel(results), [record])
    return verdicts


def causes_of(verdicts, person):
    return {
        joint: cause for joint, cause in enumerate(verdicts.causes[person]) if cause != grouping_verdicts.NOT_LABELLED
    }


def test_all_right(trio):
    results = true_results(trio)
    results[0, 15] = GUESS
    verdicts = judged(trio, results)
    assert causes_of(verdicts, 0) == {0: 0, 5: 0, 9: 0, 13: 0, 15: grouping_verdicts.OUTSIDE}
    assert causes_of(verdicts, 1) == dict.fromkeys((0, 5, 9, 13), grouping_verdicts.RIGHT)
    assert verdicts.oks[1:] == pytest.approx(1) and verdicts.oks[0] < 0.9
    assert verdicts.overlaps == pytest.approx([1000 / 7000, 1000 / 7000, 0])
    assert not verdicts.concerned(0).any()


def test_what_lies_outside_the_enlarged_box_is_outside_whatever_stands_there(trio):
    results = true_results(trio)
    results[0, 15] = (60, 100, 0.9)
    assert judged(trio, results).causes[0, 15] == grouping_verdicts.OUTSIDE
    # At a margin of 20 % the box reaches down to 130, so 129 is inside.
    keypoints = trio.keypoints.copy()
    keypoints[1, 15, 1] = 129
    moved = dataclasses.replace(trio, keypoints=keypoints)
    results[0, 15] = GUESS
    assert judged(moved, results).causes[0, 15] == grouping_verdicts.LEFT_OUT


def test_a_swap_is_one_failure_of_each(trio):
    results = true_results(trio)
    results[[0, 1], 9] = results[[1, 0], 9]
    verdicts = judged(trio, results)
    assert verdicts.causes[0, 9] == verdicts.causes[1, 9] == grouping_verdicts.SWAPPED
    assert verdicts.owners[0, 9] == 1 and verdicts.owners[1, 9] == 0
    assert verdicts.concerned(0).tolist() == [False, True, False]


def test_taken_while_the_own_lies_unused_and_left_out(trio):
    results = true_results(trio)
    results[0, 9] = results[1, 9]
    results[1, 9] = GUESS
    verdicts = judged(trio, results)
    assert verdicts.causes[0, 9] == grouping_verdicts.TAKEN
    assert verdicts.causes[1, 9] == grouping_verdicts.ROBBED  # its own went to the first
    assert verdicts.concerned(1).tolist() == [True, False, False]
    results = true_results(trio)
    results[2, 9] = GUESS
    assert judged(trio, results).causes[2, 9] == grouping_verdicts.LEFT_OUT


def test_a_place_that_is_nobodys_is_other(trio):
    results = true_results(trio)
    results[2, 9] = (139, 50, 0.8)
    verdicts = judged(trio, results)
    assert verdicts.causes[2, 9] == grouping_verdicts.OTHER and verdicts.owners[2, 9] == -1


def test_a_keypoint_that_two_people_share_is_right_for_both(trio):
    keypoints = trio.keypoints.copy()
    keypoints[2, 9] = keypoints[1, 9]
    shared = dataclasses.replace(trio, keypoints=keypoints)
    verdicts = judged(shared, true_results(shared))
    assert verdicts.causes[0, 9] == verdicts.causes[1, 9] == grouping_verdicts.RIGHT
    assert verdicts.owners[:2, 9].tolist() == [0, 1]


def test_people_without_the_labelled_boxes_are_an_error(trio):
    people = [Person(np.float32(LEFT_BOX), 1.0, np.zeros((17, 3), np.float32), 1.0)]
    with pytest.raises(ValueError, match="box"):
        grouping_verdicts.judge(trio, people, MARGIN)
    boxes = (*trio.boxes[1:], LEFT_BOX)
    people = [Person(np.float32(box), 1.0, np.zeros((17, 3), np.float32), 1.0) for box in boxes]
    with pytest.raises(ValueError, match="1 people"):
        grouping_verdicts.judge(trio, people, MARGIN)


def test_nobody_labelled_is_an_error(make_record):
    with pytest.raises(UserError, match="nothing to group"):
        grouping_verdicts.judge_all(FakeModel(), [make_record({"box": LEFT_BOX})])


def noisy_results(record, seed):
    rng = np.random.default_rng(seed)
    results = true_results(record)
    results[..., :2] += rng.normal(0, 4, results.shape[:2] + (2,))
    return results


def test_oks_is_that_of_pycocotools(synthetic_coco):
    path = annotation_file(synthetic_coco, "val")
    records = [record for record in load_annotations(path) if record.labelled.any()]
    results = [noisy_results(record, record.id) for record in records]
    verdicts = grouping_verdicts.judge_all(FakeModel(*results), records)
    truth = load_ground_truth(path)
    for record, keypoints, image in zip(records, results, verdicts, strict=True):
        people = [Person(np.zeros(4), 1.0, k, 1 - i / 100) for i, k in enumerate(keypoints)]  # COCO sorts by score
        evaluation = COCOeval(truth, truth.loadRes(keypoint_results(record.id, people)), "keypoints")
        evaluation.params.imgIds = [record.id]
        evaluation.params.catIds = [1]
        evaluation._prepare()
        similarity = evaluation.computeOks(record.id, 1)
        labelled = [a["num_keypoints"] > 0 and not a["iscrowd"] for a in evaluation._gts[record.id, 1]]
        assert image.oks == pytest.approx(np.diag(similarity[:, labelled]), abs=1e-4)
    assert len(verdicts) > 3


def mixed_up(record, count, seed=0):
    """`count` images: at first all is right, then more and more keypoints are exchanged or left out."""
    rng = np.random.default_rng(seed)
    records, results = [], []
    for number in range(count):
        result = true_results(record)
        result[0, 15] = GUESS
        for joint in rng.permutation([0, 5, 9, 13])[:number]:
            if rng.random() < 0.5:
                result[[0, 1], joint] = result[[1, 0], joint]
            else:
                result[0, joint], result[1, joint] = result[1, joint], GUESS
        records.append(dataclasses.replace(record, id=number + 1))
        results.append(result)
    return grouping_verdicts.judge_all(FakeModel(*results), records)


def test_figures_add_up(trio):
    summary = grouping_verdicts.summarise(mixed_up(trio, 5))
    assert (summary["images"], summary["people"], summary["keypoints"]) == (5, 15, 55)
    for table, total in (("causes", 55), ("joints", 55), ("overlap", 15), ("labelled keypoints", 15)):
        rows = summary[table].values()
        assert sum(row["count"] for row in rows) == total
        assert sum(row["share"] for row in rows) == pytest.approx(1)
        assert sum(row["loss"] for row in rows) == pytest.approx(1)
    causes = summary["causes"]
    assert tuple(causes) == grouping_verdicts.CAUSES and causes["right"]["loss"] == pytest.approx(0)
    assert causes["outside the enlarged box"]["count"] == 5
    assert all(summary["recall"] <= row["recall"] <= 1 for row in causes.values())
    # Two people of IoU 1/7 an image and one apart; five, four and two labelled keypoints.
    assert [summary["overlap"][name]["count"] for name in ("0", ".1-.3", "over .7")] == [5, 10, 0]
    assert [row["count"] for row in summary["labelled keypoints"].values()] == [0, 5, 10, 0, 0, 0]
    assert summary["overlap"]["0"]["mean_oks"] == pytest.approx(1)
    assert summary["overlap"]["over .7"]["mean_oks"] is None
    assert summary["joints"]["left_ankle"] == pytest.approx(summary["joints"]["left_ankle"] | {"wrong": 1, "count": 5})
    mean = np.mean([row["count"] * (row["mean_oks"] or 0) for row in summary["overlap"].values()]) * 6 / 15
    assert mean == pytest.approx(summary["mean_oks"])


def test_recall_counts_people_at_or_above_cocos_thresholds():
    assert grouping_verdicts._recall(np.array([1.0, 0.72, 0.5, 0.2])) == pytest.approx((10 + 5 + 1 + 0) / 40)


def test_the_worst_come_from_distinct_images_and_those_with_few_keypoints_last(trio):
    verdicts = mixed_up(trio, 4)
    results = true_results(trio)
    results[0, 15] = trio.keypoints[1, 15] * (1, 1, 0) + (0, 0, 1)
    results[2, [0, 9]] = GUESS  # a person with two labelled keypoints and an OKS of 0
    few = judged(dataclasses.replace(trio, id=9), results)
    worst = grouping_verdicts.worst_people([*verdicts, few], 9)
    ids = [image.record.id for image, _ in worst]
    assert sorted(ids) == [1, 2, 3, 4, 9] and ids[-1] == 9
    assert worst[-1][1] == 2 and worst[-1][0].oks[2] < 0.01
    oks = [image.oks[person] for image, person in worst[:-1]]
    assert oks == sorted(oks)
    assert grouping_verdicts.worst_people(verdicts, 2) == grouping_verdicts.worst_people(verdicts, 9)[:2]


def test_report_has_pictures_and_figures(trio, tmp_path, capsys):
    verdicts = mixed_up(trio, 4)
    report = grouping_failures.write_report(tmp_path, verdicts, 3, {"margin": MARGIN})
    names = [f"worst_{number:02d}.png" for number in (1, 2, 3)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["causes.json", "contact_sheet.png", *names]
    assert json.loads((tmp_path / "causes.json").read_text()) == report
    assert [worst["picture"] for worst in report["worst"]] == names and report["settings"] == {"margin": MARGIN}
    for worst in report["worst"]:
        image = next(image for image in verdicts if image.record.id == worst["image_id"])
        person = next(i for i, box in enumerate(image.record.boxes) if box.tolist() == pytest.approx(worst["box"]))
        assert worst["oks"] == image.oks[person] and sum(worst["causes"].values()) == image.counts[person]
    for name in (*names, "contact_sheet.png"):
        picture = read_image(tmp_path / name)
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50
    grouping_failures.print_summary(report)
    printed = capsys.readouterr().out
    assert "grouping alone" in printed and all(cause in printed for cause in grouping_verdicts.CAUSES)


def test_nothing_wrong_gives_no_pictures(trio, tmp_path):
    keypoints = trio.keypoints.copy()
    keypoints[1, 15] = 0
    record = dataclasses.replace(trio, keypoints=keypoints)
    report = grouping_failures.write_report(tmp_path, [judged(record, true_results(record))], 5)
    assert report["worst"] == [] and report["mean_oks"] == pytest.approx(1)
    assert [path.name for path in tmp_path.iterdir()] == ["causes.json"]


def test_a_picture_marks_what_is_wrong(trio):
    results = true_results(trio)
    results[0, 15] = trio.keypoints[1, 15] * (1, 1, 0) + (0, 0, 1)
    results[[0, 1], 9] = results[[1, 0], 9]
    verdicts = judged(trio, results)
    colours = failure_drawing._CAUSE_COLOURS

    def has(picture, colour):
        return (picture == colour).all(axis=-1).any()

    swap = failure_drawing.draw_failure(verdicts, 0, side=300)
    height = len(swap) - 300
    left, right = swap[height:, :300], swap[height:, 306:]
    assert swap.shape[1] == 606 and not (left == right).all()
    for panel in (left, right):
        assert has(panel, colours[grouping_verdicts.SWAPPED]) and has(panel, failure_drawing._PERSON)
        assert has(panel, failure_drawing._CONCERNED[0]) and not has(panel, colours[grouping_verdicts.OTHER])
    fine = failure_drawing.draw_failure(verdicts, 2, side=300)
    left, right = fine[-300:, :300], fine[-300:, 306:]
    assert has(fine[-300:], failure_drawing._PERSON) and not has(fine[-300:], colours[grouping_verdicts.SWAPPED])
    assert (left[:270] == right[:270]).all()  # all but the title


def test_a_view_puts_a_place_where_it_is():
    view = failure_drawing._View(np.array([100.0, 50.0]), 4.0, 200)
    canvas = np.zeros((200, 200, 3), np.uint8)
    view.disc(canvas, (120.5, 70.5), (255, 255, 255), 4)
    rows, columns = np.nonzero(canvas[..., 0])
    assert rows.mean() == pytest.approx(81.5, abs=0.2) and columns.mean() == pytest.approx(81.5, abs=0.2)


def test_photographs_lie_beneath_where_they_are_at_hand(synthetic_coco, tmp_path):
    records = [record for record in load_coco(synthetic_coco, "val") if record.labelled.any()]
    record = records[0]
    results = true_results(record)
    results[0, :, :2] += 5
    verdicts = judged(record, results)
    photograph = grouping_failures._photograph(verdicts.record)
    assert photograph.shape == (record.height, record.width, 3)
    blank = failure_drawing.draw_failure(verdicts, 0)
    assert (blank != failure_drawing.draw_failure(verdicts, 0, photograph=photograph)).mean() > 0.1
    absent = dataclasses.replace(record, path=tmp_path / "absent.jpg")
    assert grouping_failures._photograph(absent) is None


def run_command(*arguments):
    with pytest.raises(SystemExit) as stopped:
        run(grouping_failures.main, [str(argument) for argument in arguments])
    return stopped.value.code


def test_command_with_an_untrained_model(synthetic_coco, tmp_path, capsys):
    model, output = tmp_path / "model", tmp_path / "output"
    config = ModelConfig(prn_nodes=8)
    save_config(config, model)
    save_networks(Networks(config), model, ["prn"])
    path = annotation_file(synthetic_coco, "val")
    assert run_command("--model", model, "--annotations", path, "--output", output, "--worst", 2) == 0
    report = json.loads((output / "causes.json").read_text())
    assert sum(row["count"] for row in report["causes"].values()) == report["keypoints"] > 0
    assert report["settings"]["margin"] == config.prn_margin and len(report["worst"]) <= 2
    assert (output / "contact_sheet.png").exists() == bool(report["worst"])
    assert "labelled keypoints" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--annotations"),
        (["--coco", "nowhere"], "nowhere"),
        (["--annotations", "labels.json"], "labels.json"),
        (["--annotations", "VAL", "--model", "none"], "none"),
    ],
)
def test_mistakes_are_one_sentence(synthetic_coco, tmp_path, capsys, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MPN_COCO", raising=False)
    path = annotation_file(synthetic_coco, "val")
    assert run_command(*(path if argument == "VAL" else argument for argument in arguments)) == 1
    error = capsys.readouterr().err.strip()
    assert words in error and len(error.splitlines()) == 1


def test_wrong_flag_values_are_refused(capsys):
    assert run_command("--annotations", "labels.json", "--worst", "-1") == 2
    assert "-1" in capsys.readouterr().err
