"""Which images a stage trains on and validates on."""

import pathlib

from mpn.data.coco import annotation_file, check_images, hold_out, load_annotations, load_coco
from mpn.errors import UserError

# Share of train2017 to hold out if there is no val2017.
SMALL_HOLD_OUT = 0.02


def training_and_validation(settings, keep, images=True):
    """Returns two non-empty lists of ImageRecord: those to train on and those to validate on.

    `settings` is a Training. Its share `hold_out` of train2017 is held out for validation. With None, val2017
    validates, or a small share of train2017 if there is no val2017. With 0 both lists are the same, to test whether a
    model can learn a few images by heart. Only records for which `keep(record)` is true are used. Without `images`,
    there are only labels: of the COCO keypoints JSON `annotations`, if it is not None, and of the first `limit` images.

    Raises UserError if a file or image is missing, or if no usable image is left.
    """
    coco, share = settings.coco, settings.hold_out
    annotations, limit = (None, None) if images else (settings.annotations, settings.limit)

    def load(split):
        if images:
            return load_coco(coco, split)
        return load_annotations(annotations or annotation_file(coco, split), limit=limit)

    path = annotations or annotation_file(coco, "train")
    training = load("train")
    validation = load("val") if not annotations and share is None and has_validation(coco) else None
    if share == 0:
        validation = training
    elif validation is None and len(training) > 1:
        # Before `keep`, so that all stages and `evaluate.py --held-out` hold out the same images.
        training, validation = hold_out(training, SMALL_HOLD_OUT if share is None else share)
        if share is None:
            print(f"validating on {len(validation)} of the images of {path}: there is no val split")
    training, validation = ([record for record in records if keep(record)] for records in (training, validation or ()))
    for name, records in (("train", training), ("validate", validation)):
        if not records:
            raise UserError(
                f"{path} and its val split leave no image with people to {name} on: raise --hold-out, or pass "
                "--hold-out 0 to validate on the training images"
            )
    if images:
        check_images([*training, *validation])
    return training, validation


def has_validation(coco):
    return (pathlib.Path(coco) / "annotations" / "person_keypoints_val2017.json").exists()
