"""Right COCO annotations and detections, changed at random where their structure is, given to all that reads them."""

import contextlib
import copy
import io
import json
import pathlib
import random
import tempfile
import traceback

import numpy as np

from mpn.data.annotations import read_annotations
from mpn.data.coco import check_images, image_records
from mpn.data.patches import region_masks
from mpn.data.person import valid_boxes
from mpn.data.prn import collect_people
from mpn.errors import UserError
from mpn.evaluation import coco
from mpn.evaluation.results import box_results, keypoint_results, write_keypoint_results
from mpn.evaluation.segmentation import true_silhouettes
from mpn.evaluation.sources import (
    EMPTY,
    BoxesFile,
    PeaksFile,
    oracle_people,
    with_true_boxes,
    with_true_keypoints,
)
from mpn.people import Person
from mpn.skeleton import KEYPOINTS

ODD = (
    *(None, True, False, 0, 1, -1, 2, 3, 1.5, 7.0, float("nan"), float("inf"), -float("inf"), 1e-300, 1e5, 1e20, 1e300),
    *(
        2**31,
        2**53 + 1,
        2**63,
        2**64,
        10**30,
        -(10**30),
        10**400,
        "",
        "0",
        "1",
        "7",
        " 8 ",
        "person",
        "nose",
        "../7.jpg",
    ),
    *("/dev/zero", "a\0b", "\ud800", "7.jpg" * 99, [], {}, [[]], [None], [0] * 51, [1, 2, 3], [[1, 2], [3, 4], [5, 6]]),
    *([1, 2, 30, 40], {"size": [48, 64], "counts": [3072]}, {"size": [100000, 100000], "counts": "o" * 9 + "0"}),
)


def annotations():
    """The content of a right file: two images, four people, somebody else."""
    grid = [value for joint in range(17) for value in (10 + 2 * joint, 12 + joint, 1 + joint % 2)]
    shapes = [
        [[10, 10, 50, 10, 50, 40, 10, 40]],
        {"size": [48, 64], "counts": [100, 500, 48 * 64 - 600]},
        {"size": [64, 48], "counts": "Y`0h0X1" + "0" * 73 + "g3"},
        [],
    ]
    people = [
        {
            "image_id": 7 + number // 2,
            "category_id": 1,
            "bbox": [8, 9, 38, 24],
            "area": 400.5,
            "iscrowd": int(number == 3),
        }
        | {"id": number + 1, "keypoints": grid, "num_keypoints": 17, "segmentation": shape}
        for number, shape in enumerate(shapes)
    ]
    return {
        "info": {},
        "images": [
            {"id": 7, "file_name": "7.jpg", "width": 64, "height": 48},
            {"id": 8, "file_name": "8.jpg", "width": 48, "height": 64},
        ],
        "categories": [
            {"id": 1, "name": "person", "keypoints": list(KEYPOINTS), "skeleton": [[1, 2]]},
            {"id": 3, "name": "ball"},
        ],
        "annotations": [*people, {"id": 5, "image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4]}],
    }


def boxes():
    """The content of a right file of boxes for the same images."""
    return [{"image_id": 7 + n % 2, "category_id": 1 + n // 3, "bbox": [n, 9, 38, 24], "score": 0.9} for n in range(5)]


def peaks():
    """The content of a right file of peaks for the same images."""
    return [{"image_id": 7 + n % 2, "joint": (n, KEYPOINTS[n])[n % 2], "x": 9, "y": n, "score": 0.5} for n in range(5)]


def mutated(content, rng):
    """A copy with one to three changes: each picks a place by walking down from the top."""
    content = copy.deepcopy(content)
    for _ in range(rng.randint(1, 3)):
        place, key = None, None
        inside = content
        while isinstance(inside, (dict, list)) and inside and (place is None or rng.random() < 0.8):
            place, key = inside, rng.choice(list(inside) if isinstance(inside, dict) else range(len(inside)))
            inside = place[key]
        if place is not None:
            _change(place, key, rng)
    return content


def _change(place, key, rng):
    value, kind = place[key], rng.randrange(6)
    if kind == 0:
        del place[key]
    elif kind == 1 and isinstance(place, list):
        place.insert(rng.randrange(len(place) + 1), copy.deepcopy(value))
    elif kind == 2 and isinstance(value, str) and value:
        at = rng.randrange(len(value))
        place[key] = rng.choice([value[:at], value[:at] + chr(rng.randrange(1, 130)) + value[at + 1 :], value + value])
    elif kind == 3 and type(value) in (int, float):
        place[key] = rng.choice(
            [-value, value + 1, value * 1000, value * 0.3 if abs(value) < 1e9 else 9, str(value), [value]]
        )
    elif kind == 4 and isinstance(value, list):
        place[key] = rng.choice(
            [value[:-1], value * 2, value[::-1], [value], list(map(str, value)), dict(enumerate(value))]
        )
    else:
        place[key] = copy.deepcopy(rng.choice(ODD))


def try_annotations(content, folder):
    """Reads a file and makes of it what the three stages and an evaluation do.

    Raises:
        UserError: as it should be, where something is wrong with the file.
        AssertionError: the ground truth itself does not get an AP of 1.
    """
    path = folder / "annotations.json"
    path.write_text(json.dumps(content))
    read = read_annotations(path)
    records = image_records(read, folder)
    for record in records:
        valid_boxes(record)
        if record.width * record.height < 10**6:
            region_masks(record, np.eye(2, 3), (64, 64))
            true_silhouettes(record)
    check_images(records)
    coco.check_labelled(records, path)
    collect_people(records)
    truth, ids = coco.ground_truth(read), [record.id for record in records]
    poses = []
    for record in records:
        found = with_true_boxes(with_true_keypoints(EMPTY, record), record)
        poses += keypoint_results(record.id, oracle_people(found, record))
    write_keypoint_results(folder / "poses.json", poses, category=read.category)
    average = coco.evaluate_keypoints(truth, poses, ids)["AP"]
    # Results have three decimals, and float32 fewer far outside: people of no size at all miss themselves.
    if read.areas.min() > 1 and np.abs(read.keypoints).max() < 1000:
        assert abs(average - 1) < 1e-6, f"AP {average}"


def try_boxes(content, folder):
    """As `try_annotations`, for a file of boxes."""
    path, records, truth = _with_truth(content, folder)
    source = BoxesFile(path, [7, 8], 1)
    results = []
    for record in records:
        found = source.add_to(EMPTY, record)
        people = [Person(*pair, np.zeros((17, 3)), 0) for pair in zip(found.boxes, found.box_scores, strict=True)]
        results += box_results(record.id, people)
    _check_average(coco.evaluate_boxes(truth, results, [7, 8])["AP"])


def try_peaks(content, folder):
    """As `try_annotations`, for a file of peaks."""
    path, records, truth = _with_truth(content, folder)
    source = PeaksFile(path, [7, 8])
    results = []
    for record in records:
        found = source.add_to(with_true_boxes(EMPTY, record), record)
        results += keypoint_results(record.id, oracle_people(found, record))
    write_keypoint_results(folder / "poses.json", results)
    _check_average(coco.evaluate_keypoints(truth, results, [7, 8])["AP"])


def _with_truth(content, folder):
    path, truth = folder / "detections.json", folder / "truth.json"
    path.write_text(json.dumps(content))
    truth.write_text(json.dumps(annotations()))
    return path, *coco.load_labels(truth)


def _check_average(average):
    assert 0 <= average <= 1, f"AP {average}"


KINDS = ((annotations, try_annotations), (annotations, try_annotations), (boxes, try_boxes), (peaks, try_peaks))


def run(count, seed):
    """Tries so many changed files, half of them annotations.

    Args:
        count: of files.
        seed: decides all of them.

    Returns:
        list of str: each file that raised anything but a UserError, with its number, changed content and traceback.
    """
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for name in ("7.jpg", "8.jpg"):
            (folder / name).touch()
        for number in range(count):
            make, attempt = KINDS[number % len(KINDS)]
            content = mutated(make(), random.Random(f"{seed} {number}"))
            try:
                with contextlib.redirect_stdout(io.StringIO()), np.errstate(all="raise", under="ignore"):
                    attempt(content, folder)
            except UserError as error:
                if "\n" in str(error) or len(str(error)) > 600:
                    failures.append(f"{make.__name__}, seed {seed}, number {number}: not one sentence: {error}")
            except Exception:  # whatever else it is, it is what is looked for
                failures.append(f"{make.__name__}, seed {seed}, number {number}: {content}\n{traceback.format_exc()}")
    return failures
