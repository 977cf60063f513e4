import mpn  # noqa: F401  before OpenCV and Keras, whose settings it makes

# isort: split
import gc
import os
import pathlib
import shutil

import numpy as np
import pytest

import train_keypoints  # noqa: E402
import train_prn  # noqa: E402
from mpn.data.coco import ImageRecord
from mpn.synthetic.scenes import write_synthetic_coco

# Files with the longest tests, in the order in which they start.
LONGEST = ("test_end_to_end", "test_distribution", "test_train_person", "test_exports", "test_multiposenet")


def pytest_configure():
    """Saves a fifth of the processor time of all tests."""
    gc.set_threshold(100_000, 50, 50)  # TensorFlow's graphs are many objects, and few become garbage
    if "PYTEST_XDIST_WORKER" in os.environ:  # more threads than cores wait for each other
        os.environ.update(OMP_NUM_THREADS="1", TF_NUM_INTRAOP_THREADS="1")


def pytest_collection_modifyitems(items):
    """Starts the longest files first, so that no process waits for another at the end."""
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


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


@pytest.fixture(scope="session")
def tiny_coco(tmp_path_factory):
    """Seven training and two validation images in COCO's layout."""
    folder = tmp_path_factory.mktemp("tiny_coco")
    write_synthetic_coco(folder, train=7, val=2, test=0, image_size=(128, 96), seed=3)
    return folder


@pytest.fixture(scope="session")
def labels_only(tiny_coco, tmp_path_factory):
    """The same set without its images."""
    folder = tmp_path_factory.mktemp("labels_only")
    shutil.copytree(tiny_coco / "annotations", folder / "annotations")
    return folder


@pytest.fixture(scope="session")
def runs():
    """The module of that name, imported late: tests of files and of the demo start without TensorFlow."""
    import runs

    return runs


@pytest.fixture(scope="module")
def small_backbone():
    """Networks of this module have a small backbone, whatever their configuration says."""
    from backbones import small_backbones

    with small_backbones():
        yield


@pytest.fixture(scope="session")
def stage_1(runs, tiny_coco, tmp_path_factory):
    """A model directory after three epochs of stage 1, for modules with `small_backbone`; tests must not change it."""
    from backbones import small_backbones

    model = tmp_path_factory.mktemp("stage_1") / "model"
    with small_backbones():
        runs.call(train_keypoints, runs.keypoint_arguments(tiny_coco, model, "--epochs", 3))
    return model


@pytest.fixture
def after_stage_1(stage_1, tmp_path):
    return shutil.copytree(stage_1, tmp_path / "model")


@pytest.fixture(scope="session")
def stage_3(runs, labels_only, tmp_path_factory):
    """A model directory after two epochs of stage 3 alone; tests must not change it."""
    model = tmp_path_factory.mktemp("stage_3") / "model"
    runs.call(train_prn, runs.prn_arguments(model, "--coco", labels_only, "--epochs", 2))
    return model


@pytest.fixture(scope="session")
def refiner(runs, tiny_coco, tmp_path_factory):
    """A refinement network after two steps, for modules with `small_backbone`; tests must not change it."""
    from backbones import small_backbones

    model = tmp_path_factory.mktemp("refiner") / "model"
    more = ("--refiner", 0.7, "--shift", 0.05, "--epochs", 1)
    with small_backbones():
        runs.call(train_keypoints, runs.keypoint_arguments(tiny_coco, model, *more))
    return model
