"""Result files in the format of the COCO evaluation server."""

import json
import pathlib
import re
import zipfile

from mpn.data.annotations import PERSON_CATEGORY
from mpn.errors import UserError
from mpn.files import atomic_path, write_json

# The server counts the best 20 poses of an image.
MOST_PEOPLE = 20


def keypoint_results(image_id, people):
    """The best 20 people of an image, best first, as COCO's {image_id, category_id, keypoints, score}.

    Keypoints are 17 x (x, y, confidence) in COCO's pixel indices, which are our coordinates - 0.5.
    """
    best = sorted(people, key=lambda person: -person.score)[:MOST_PEOPLE]
    keypoints = ([float(v) for x, y, c in person.keypoints for v in (x - 0.5, y - 0.5, c)] for person in best)
    return _entries(image_id, "keypoints", keypoints, (person.score for person in best))


def box_results(image_id, people):
    """The boxes of an image's people as COCO's {image_id, category_id, bbox [x, y, w, h], score}."""
    boxes = (person.box.astype(float) for person in people)
    boxes = ([*box[:2].tolist(), *(box[2:] - box[:2]).tolist()] for box in boxes)
    return _entries(image_id, "bbox", boxes, (person.box_score for person in people))


def _entries(image_id, field, lists, scores):
    shared = {"image_id": int(image_id), "category_id": PERSON_CATEGORY}
    return [
        {**shared, field: [round(number, 3) for number in numbers], "score": round(float(score), 6)}
        for numbers, score in zip(lists, scores, strict=True)
    ]


def results_file(folder, split, name):
    """The path of a results file, as the server wants it named. Raises UserError if `name` does not fit."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise UserError(f"--name may have letters, digits, - and _ only, not {name!r}")
    return pathlib.Path(folder) / f"person_keypoints_{split}2017_{name}_results.json"


def of_category(results, category):
    """The results with an annotation file's own id of people, which the server looks for."""
    return [result | {"category_id": category} for result in results]


def write_keypoint_results(path, results, zipped=False, category=PERSON_CATEGORY):
    """Makes the folder and writes keypoint results atomically; `zipped` adds the .zip for the server."""
    results = of_category(results, category)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_json(path, results)
    except ValueError as error:
        raise UserError("the network gave numbers that are not finite: use --precision float32") from error
    if zipped:
        with (
            atomic_path(path.with_suffix(".zip")) as temporary,
            zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            archive.writestr(path.name, json.dumps(results))
