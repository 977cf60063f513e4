"""Hand-made COCO ground truth and detections, whose errors are known by construction."""

import numpy as np

from mpn.data.annotations import read_annotations
from mpn.evaluation import coco
from mpn.skeleton import OKS_SIGMAS

AREA = 100.0**2


def labels(x=0, y=0):
    """(17, 3) float64: joints 80 pixels apart or more, where with AREA no joint is near another."""
    grid = np.array([(80 * (joint % 5) + x, 80 * (joint // 5) + y, 2) for joint in range(17)], np.float64)
    return grid


def moved(point, joint, similarity, area=AREA):
    """A place to the right of a labelled point whose similarity with it is the given one."""
    return point[:2] + (np.sqrt(-2 * np.log(similarity) * area) * 2 * float(OKS_SIGMAS[joint]), 0)


def annotation(keypoints, image=1, box=None, area=AREA, crowd=0):
    """A person; `ground_truth` adds the id."""
    low, high = keypoints[:, :2].min(axis=0), keypoints[:, :2].max(axis=0)
    return {
        "image_id": image,
        "category_id": 1,
        "keypoints": keypoints.ravel().tolist(),
        "num_keypoints": int((keypoints[:, 2] > 0).sum()),
        "bbox": list(box or (*low, *(high - low))),
        "area": area,
        "iscrowd": crowd,
    }


def detection(keypoints, score=0.9, image=1):
    return {"image_id": image, "category_id": 1, "keypoints": keypoints.ravel().tolist(), "score": score}


def ground_truth(*annotations, images=()):
    """COCO object of the people's images, and of others that nobody is in. Ids of people count from 1."""
    ids = sorted({a["image_id"] for a in annotations} | set(images))
    return coco.as_coco(
        {
            "info": {},
            "images": [{"id": i, "width": 2000, "height": 2000, "file_name": f"{i}.jpg"} for i in ids],
            "categories": [{"id": 1, "name": "person"}],
            "annotations": [a | {"id": number} for number, a in enumerate(annotations, start=1)],
        }
    )


def load_ground_truth(path):
    """The COCO object of an annotations file."""
    return coco.ground_truth(read_annotations(path))
