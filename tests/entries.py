"""Entries of the files that `evaluate.py` takes peaks and boxes from."""

import json


def written(path, content):
    path.write_text(json.dumps(content))
    return str(path)


def peak(**changes):
    return {"image_id": 1, "joint": 0, "x": 10, "y": 20, "score": 0.5, **changes}


def box(**changes):
    return {"image_id": 1, "category_id": 1, "bbox": [10, 20, 30, 40], "score": 0.5, **changes}
