import hashlib
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from mpn.errors import UserError
from mpn.skeleton import KEYPOINTS, LIMBS
from mpn.synthetic import scenes
from mpn.synthetic.__main__ import main
from mpn.synthetic.drawing import PART_ID, Canvas, draw_figure, visibility
from mpn.synthetic.poses import sample_figure
from mpn.synthetic.scenes import draw_people, mask_to_polygons, mask_to_rle, write_synthetic_coco

WIDTH, HEIGHT = 320, 240
LEFT_SHOULDER, RIGHT_SHOULDER = KEYPOINTS.index("left_shoulder"), KEYPOINTS.index("right_shoulder")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("synthetic")
    write_synthetic_coco(path, train=60, val=6, test=3, image_size=(WIDTH, HEIGHT), seed=1)
    return path


@pytest.fixture(scope="module")
def coco(folder):
    return COCO(folder / "annotations" / "person_keypoints_train2017.json")


def people_with_polygons(coco):
    return [a for a in coco.anns.values() if not a["iscrowd"] and a["segmentation"]]


def test_layout(folder, coco):
    for split, count in (("train", 60), ("val", 6), ("test", 3)):
        assert len(list((folder / f"{split}2017").glob("*.jpg"))) == count
    assert not list((folder / "annotations").glob("*.part"))
    val = json.loads((folder / "annotations" / "person_keypoints_val2017.json").read_text())
    test = json.loads((folder / "annotations" / "image_info_test-dev2017.json").read_text())
    assert "annotations" not in test and len(test["images"]) == 3
    for image in coco.dataset["images"] + val["images"] + test["images"]:
        assert image["file_name"] == f"{image['id']:012d}.jpg"
    for kind, lists in {"images": [coco.dataset, val, test], "annotations": [coco.dataset, val]}.items():
        ids = [entry["id"] for content in lists for entry in content[kind]]
        assert len(ids) == len(set(ids))
    picture = cv2.imread(str(folder / "train2017" / coco.dataset["images"][0]["file_name"]))
    assert picture.shape == (HEIGHT, WIDTH, 3)
    category = coco.dataset["categories"][0]
    assert category["keypoints"] == list(KEYPOINTS)
    assert category["skeleton"] == [[a + 1, b + 1] for a, b in LIMBS]


def test_every_special_case_is_there(coco):
    people = list(coco.anns.values())
    crowds = [a for a in people if a["iscrowd"]]
    assert crowds and all(a["num_keypoints"] == 0 and not any(a["keypoints"]) for a in crowds)
    assert all(isinstance(a["segmentation"]["counts"], list) for a in crowds)
    silent = [a for a in people if not a["iscrowd"] and a["num_keypoints"] == 0]
    assert silent and all(a["segmentation"] and not any(a["keypoints"]) for a in silent)
    assert 1 <= sum(a["segmentation"] == [] and a["num_keypoints"] > 0 for a in people) <= 2
    assert 1 <= sum(not coco.getAnnIds(image) for image in coco.imgs) <= 12
    assert any(len(a["segmentation"]) > 1 for a in people_with_polygons(coco))
    flags = np.concatenate([np.reshape(a["keypoints"], (17, 3))[:, 2] for a in people if a["num_keypoints"]])
    assert all((flags == v).mean() > 0.05 for v in (0, 1, 2))


def test_first_five_images_hold_the_special_cases(folder):
    val = json.loads((folder / "annotations" / "person_keypoints_val2017.json").read_text())
    of = {i["id"]: [a for a in val["annotations"] if a["image_id"] == i["id"]] for i in val["images"]}
    _, bare, silent, empty, crowd, _ = of.values()
    assert any(a["segmentation"] == [] for a in bare)
    assert any(a["num_keypoints"] == 0 for a in silent)
    assert empty == []
    assert any(a["iscrowd"] for a in crowd)


def test_masks_agree_with_area_and_box(coco):
    errors = []
    for annotation in people_with_polygons(coco):
        mask = coco.annToMask(annotation)
        errors.append(abs(mask.sum() - annotation["area"]) / annotation["area"])
        x, y, w, h = annotation["bbox"]
        rows, columns = np.nonzero(mask)
        assert x <= columns.min() and columns.max() < x + w <= WIDTH
        assert y <= rows.min() and rows.max() < y + h <= HEIGHT
    assert max(errors) < 0.1
    assert np.mean(errors) < 0.003
    for annotation in coco.anns.values():
        if annotation["iscrowd"]:
            assert coco.annToMask(annotation).sum() == annotation["area"]


def test_people_of_an_image_share_no_pixels(coco):
    for image in coco.imgs:
        people = [a for a in coco.imgToAnns[image] if not a["iscrowd"] and a["segmentation"]]
        if people:
            masks = np.array([coco.annToMask(a) for a in people])
            # polygons are simplified by half a pixel, so neighbours may share a seam
            assert (masks.sum(0) > 1).sum() < 0.005 * masks.sum() + 2


def test_keypoints_follow_cocos_rules(coco):
    for annotation in people_with_polygons(coco):
        keypoints = np.reshape(annotation["keypoints"], (17, 3))
        assert all(isinstance(value, int) for value in annotation["keypoints"])
        assert annotation["num_keypoints"] == (keypoints[:, 2] > 0).sum()
        assert not keypoints[keypoints[:, 2] == 0].any()
        x, y, v = keypoints.T
        assert x.min() >= 0 and x.max() < WIDTH and y.min() >= 0 and y.max() < HEIGHT
        silhouette = cv2.dilate(coco.annToMask(annotation), np.ones((5, 5)))
        assert silhouette[y[v == 2], x[v == 2]].all()


def test_draw_people():
    image, people = draw_people(np.random.default_rng(3), (WIDTH, HEIGHT), 4, bystanders=1, crowd=True)
    assert image.shape == (HEIGHT, WIDTH, 3) and image.dtype == np.uint8
    assert 3 <= len(people) <= 6
    assert [person["iscrowd"] for person in people] == [0] * (len(people) - 1) + [1]
    again, _ = draw_people(np.random.default_rng(3), (WIDTH, HEIGHT), 4, bystanders=1, crowd=True)
    assert (again == image).all()


def test_keypoints_under_someone_else_are_hidden():
    rng = np.random.default_rng(3)
    canvas = Canvas(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    figure = sample_figure(rng, yaw=0, lying=False)
    place = np.array([160.0, 120.0]), 200.0
    draw_figure(canvas, figure, *place, owner=1)
    alone = visibility(canvas, figure, *place, owner=1)
    canvas.labels[...] = 2
    covered = visibility(canvas, figure, *place, owner=1)
    assert (alone[:, 2] == 2).sum() >= 10
    assert set(covered[:, 2]) <= {0, 1} and (covered[:, :2] == alone[:, :2]).all()


def figures_at(yaw, count=30):
    rng = np.random.default_rng(7)
    return [sample_figure(rng, yaw=yaw + rng.uniform(-30, 30), lying=False) for _ in range(count)]


@pytest.mark.parametrize("yaw, sign", [(0, 1), (180, -1)])
def test_left_is_on_the_right_of_who_faces_us(yaw, sign):
    for figure in figures_at(yaw):
        assert sign * (figure.points[LEFT_SHOULDER, 0] - figure.points[RIGHT_SHOULDER, 0]) > 0


def test_left_limbs_look_different_from_right_limbs():
    contrast = []
    for figure in figures_at(0, count=20) + figures_at(180, count=20):
        canvas = Canvas(np.full((HEIGHT, WIDTH, 3), 128, np.uint8))
        draw_figure(canvas, figure, np.array([160.0, 120.0]), 200.0, owner=1)
        parts = canvas.labels[..., 1]
        left, right = (canvas.image[parts == PART_ID[f"{side}_thigh"]] for side in ("left", "right"))
        contrast.append(left.std(0).mean() - right.std(0).mean())  # only the left one has a bright stripe
    assert np.mean(np.array(contrast) > 10) > 0.9


def test_eye_keypoints_lie_on_pupils_and_most_points_are_seen():
    pupils, flags = [], []
    for figure in figures_at(0):
        canvas = Canvas(np.full((600, 600, 3), 128, np.uint8))
        place = np.array([300.0, 300.0]), 450.0
        draw_figure(canvas, figure, *place, owner=1)
        keypoints = visibility(canvas, figure, *place, owner=1)
        pupils += [canvas.image[y, x].max() < 60 for x, y, v in keypoints[1:3] if v == 2]
        flags.append(keypoints[:, 2])
    assert len(pupils) > 30 and np.mean(pupils) > 0.95
    assert (np.array(flags) == 2).mean() > 0.8


def test_face_is_not_annotated_from_behind():
    for figure in figures_at(180):
        if figure.head_axes[2, 2] > -0.5:  # looks over the shoulder
            continue
        canvas = Canvas(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
        place = np.array([160.0, 120.0]), 150.0
        draw_figure(canvas, figure, *place, owner=1)
        assert not visibility(canvas, figure, *place, owner=1)[:3].any()


def test_polygons_of_a_ring_keep_its_hole():
    mask = np.zeros((40, 50), bool)
    mask[5:30, 8:41] = True
    mask[12:20, 15:30] = False
    rles = coco_mask.frPyObjects(mask_to_polygons(mask), *mask.shape)
    assert np.abs(coco_mask.decode(coco_mask.merge(rles)) - mask.astype(int)).sum() <= 1


def test_run_lengths_decode_to_the_mask():
    for first in (False, True):
        mask = np.random.default_rng(0).random((9, 7)) < 0.5
        mask[0, 0] = first
        rle = mask_to_rle(mask)
        assert (coco_mask.decode(coco_mask.frPyObjects(rle, *rle["size"])) == mask).all()


def digest(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(str(path.relative_to(folder)), hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]


def test_the_seed_decides_the_set(folder, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_synthetic_coco(tmp_path / name, train=4, val=2, test=1, seed=seed)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert digest(tmp_path / "a") != digest(tmp_path / "c")
    # an image does not depend on how many there are
    name = "train2017/000000000003.jpg"
    assert (tmp_path / "a" / name).read_bytes() == (folder / name).read_bytes()


def test_interrupted_run_leaves_no_json(tmp_path, monkeypatch):
    write_synthetic_coco(tmp_path, train=2, val=1, test=1)
    drawn = []

    def interrupt(*arguments):
        drawn.append(draw_people(np.random.default_rng(0), (64, 64), 0))
        if len(drawn) == 3:
            raise KeyboardInterrupt
        return drawn[-1]

    monkeypatch.setattr(scenes, "_draw_scene", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_synthetic_coco(tmp_path, train=2, val=1, test=1)
    assert list((tmp_path / "train2017").glob("*.jpg"))
    assert not list((tmp_path / "annotations").iterdir())


def test_another_sets_annotations_are_not_overwritten(tmp_path):
    file = tmp_path / "annotations" / "person_keypoints_val2017.json"
    file.parent.mkdir()
    file.write_text('{"info": {"description": "COCO 2017 Dataset"}}')
    with pytest.raises(UserError, match="person_keypoints_val2017.json"):
        write_synthetic_coco(tmp_path, train=1, val=1, test=1)
    assert "COCO 2017" in file.read_text()


@pytest.mark.parametrize("arguments", [{"train": -1}, {"image_size": (320, 8)}])
def test_impossible_sizes_are_refused(tmp_path, arguments):
    with pytest.raises(UserError, match="-1|8"):
        write_synthetic_coco(tmp_path, **arguments)


def test_command(tmp_path, capsys):
    arguments = [str(tmp_path), "--train", "1", "--val", "1", "--test", "0", "--image-size", "96", "64"]
    assert not main(arguments)
    assert "2/2" in capsys.readouterr().err
    assert cv2.imread(str(tmp_path / "val2017" / "000001000001.jpg")).shape == (64, 96, 3)


def test_command_reports_mistakes_in_one_sentence(tmp_path):
    command = [sys.executable, "-m", "mpn.synthetic", str(tmp_path)]
    result = subprocess.run([*command, "--train", "-3"], capture_output=True, text=True)
    assert result.returncode == 2 and "'-3'" in result.stderr
    result = subprocess.run([*command, "--image-size", "320", "8"], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ") and len(result.stderr.strip().splitlines()) == 1
