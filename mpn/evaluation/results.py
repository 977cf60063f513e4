"""Result files in the format of the COCO evaluation server."""

import json
import math
import pathlib
import re
import zipfile

from mpn.data.annotations import PERSON_CATEGORY
from mpn.errors import UserError
from mpn.files import atomic_path, write_json
from mpn.skeleton import NUM_KEYPOINTS

# The server counts the best 20 poses of an image.
MOST_PEOPLE = 20


def keypoint_results(image_id, people):
    """The best 20 people of an image, best first, as COCO's {image_id, category_id, keypoints, score}.

    Keypoints are 17 x (x, y, confidence) in COCO's pixel indices, which are our coordinates - 0.5.
    """
    best = sorted(people, key=lambda person: -person.score)[:MOST_PEOPLE]
    return [
        {
            "image_id": int(image_id),
            "category_id": PERSON_CATEGORY,
            "keypoints": [round(float(value), 3) for x, y, c in person.keypoints for value in (x - 0.5, y - 0.5, c)],
            "score": round(float(person.score), 6),
        }
        for person in best
    ]


def box_results(image_id, people):
    """The boxes of an image's people as COCO's {image_id, category_id, bbox [x, y, w, h], score}."""
    results = []
    for person in people:
        x1, y1, x2, y2 = (float(v) for v in person.box)
        results.append(
            {
                "image_id": int(image_id),
                "category_id": PERSON_CATEGORY,
                "bbox": [round(v, 3) for v in (x1, y1, x2 - x1, y2 - y1)],
                "score": round(float(person.box_score), 6),
            }
        )
    return results


def validate_keypoint_results(results, image_ids):
    """Raises UserError for the first result that the server would refuse."""
    known = set(image_ids)
    counts = {}
    for index, result in enumerate(results):
        where = f"keypoint result {index} (image {result.get('image_id')})"
        if result.get("image_id") not in known:
            raise UserError(f"{where} belongs to no image of the split")
        if result.get("category_id") != PERSON_CATEGORY:
            raise UserError(f"{where} has category {result.get('category_id')}, not {PERSON_CATEGORY} (person)")
        numbers = result.get("keypoints", ())
        if len(numbers) != 3 * NUM_KEYPOINTS or not all(map(_is_finite, numbers)):
            raise UserError(f"{where} must have {3 * NUM_KEYPOINTS} finite keypoint numbers")
        if not _is_finite(result.get("score")):
            raise UserError(f"{where} has the score {result.get('score')}, which is not a finite number")
        counts[result["image_id"]] = counts.get(result["image_id"], 0) + 1
        if counts[result["image_id"]] > MOST_PEOPLE:
            raise UserError(f"{where} is one of more than {MOST_PEOPLE} people in that image")


def _is_finite(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def results_file(folder, split, name):
    """The path of a results file, as the server wants it named. Raises UserError if `name` does not fit."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise UserError(f"--name may have letters, digits, - and _ only, not {name!r}")
    return pathlib.Path(folder) / f"person_keypoints_{split}2017_{name}_results.json"


def of_category(results, category):
    """The results with an annotation file's own id of people, which the server looks for."""
    return [result | {"category_id": category} for result in results]


def write_keypoint_results(path, results, image_ids, zipped=False, category=PERSON_CATEGORY):
    """Checks keypoint results, makes the folder and writes the file atomically; `zipped` adds the .zip for the server.

    `category` is the annotation file's id of people. Raises as `validate_keypoint_results`, before writing anything.
    """
    validate_keypoint_results(results, image_ids)
    results = of_category(results, category)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, results)
    if zipped:
        with (
            atomic_path(path.with_suffix(".zip")) as temporary,
            zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            archive.writestr(path.name, json.dumps(results))
