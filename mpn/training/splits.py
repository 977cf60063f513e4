"""Which images a stage trains on, and which it validates on."""

import pathlib

from mpn.data.coco import annotation_file, check_images, hold_out, load_annotations, load_coco
from mpn.errors import UserError

# Share of train2017 that is held out where there is no val2017.
SMALL_HOLD_OUT = 0.02


def training_and_validation(coco, share, seed, keep):
    """Records to train on, of train2017, and to validate on.

    Args:
        coco: folder in COCO layout.
        share: of train2017 that is held out for validation, so that val2017 can be kept for reporting. None takes
            val2017, or a small share where there is none. With 0 both lists are the same: a model that is to learn a
            few images by heart is judged by them.
        seed: decides which images are held out.
        keep: function of an ImageRecord that tells whether the stage can use it.

    Returns:
        two lists of ImageRecord, neither empty.

    Raises:
        UserError: a missing folder or file, one of the images included, or nothing usable in it.
    """
    path = annotation_file(coco, "train")
    training = load_coco(coco, "train")
    validation = load_coco(coco, "val") if share is None and has_validation(coco) else None
    training, validation = _usable(training, validation, share, seed, keep, path)
    check_images([*training, *validation])
    return training, validation


def training_and_validation_labels(coco, annotations, limit, share, seed, keep):
    """Like `training_and_validation` for labels alone.

    Args:
        annotations: COCO keypoints JSON instead of a folder, or None.
        limit: only the first images of each split, or None.
    """
    path = annotations or annotation_file(coco, "train")
    training = load_annotations(path, limit=limit)
    validation = None
    if not annotations and share is None and has_validation(coco):
        validation = load_annotations(annotation_file(coco, "val"), limit=limit)
    return _usable(training, validation, share, seed, keep, path)


def has_validation(coco):
    """Whether a folder has a validation split; a damaged one is an error when it is read."""
    return (pathlib.Path(coco) / "annotations" / "person_keypoints_val2017.json").exists()


def _usable(training, validation, share, seed, keep, path):
    if share == 0:
        validation = training
    elif validation is None and len(training) > 1:
        # Before anything is left out, so that all stages, and `evaluate.py --held-out`, hold out the same images.
        training, validation = hold_out(training, SMALL_HOLD_OUT if share is None else share, seed)
        if share is None:
            print(f"validating on {len(validation)} of the images of {path}: there is no val split")
    training, validation = ([record for record in records if keep(record)] for records in (training, validation or ()))
    for name, records in (("train", training), ("validate", validation)):
        if not records:
            raise UserError(
                f"{path} and its val split leave no image with people to {name} on: raise --hold-out, or pass "
                "--hold-out 0 to validate on the training images"
            )
    return training, validation
