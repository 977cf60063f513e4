import pathlib

import numpy as np
import pytest

from mpn.data.coco import ImageRecord
from mpn.data.synthetic import write_synthetic_coco


@pytest.fixture(scope="session")
def synthetic_coco(tmp_path_factory):
    """Folder of a small synthetic COCO set: 32 training, 16 validation and 3 test images of 192 x 144 pixels."""
    folder = tmp_path_factory.mktemp("synthetic_coco")
    write_synthetic_coco(folder, train=32, val=16, test=3, image_size=(192, 144), seed=3)
    return folder


@pytest.fixture(scope="session")
def make_record():
    """Makes an ImageRecord of people given as dicts with a box and, where they have them, the other fields."""

    def make(*people, width=192, height=144, path=None, identity=1):
        count = len(people)
        boxes = np.array([p["box"] for p in people], np.float32).reshape(count, 4)
        keypoints = np.zeros((count, 17, 3), np.float32)
        for row, person in zip(keypoints, people, strict=True):
            for index, point in person.get("keypoints", {}).items():
                row[index] = point
        return ImageRecord(
            id=identity,
            path=None if path is None else pathlib.Path(path),
            width=width,
            height=height,
            keypoints=keypoints,
            boxes=boxes,
            areas=(boxes[:, 2:] - boxes[:, :2]).prod(axis=1),
            crowd=np.array([p.get("crowd", False) for p in people], bool),
            segmentations=tuple(p.get("segmentation", []) for p in people),
        )

    return make
