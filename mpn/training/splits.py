"""Which images a stage trains on, and which it validates on."""

from mpn.data.coco import annotation_file, check_images, hold_out, load_annotations, load_coco
from mpn.errors import UserError


def training_and_validation(options, keep):
    """Records of train2017, and of val2017 where the folder has it, else of a held-out share of train2017.

    --validation held-out takes the latter in any case, so that val2017 can be kept for reporting.
    With --validation train both are the same: a model that is to learn a few images by heart is judged by them.

    Args:
        options: namespace with coco, limit, hold_out, seed and validation.
        keep: function of an ImageRecord that tells whether the stage can use it.

    Returns:
        two lists of ImageRecord, neither empty.

    Raises:
        UserError: a missing folder or file, one of the images included, or nothing usable in it.
    """
    path = annotation_file(options.coco, "train")
    training = load_coco(options.coco, "train", options.limit)
    validation = load_coco(options.coco, "val", options.limit) if _has_validation(options) else None
    training, validation = _usable(training, validation, keep, options, path)
    check_images([*training, *validation])
    return training, validation


def training_and_validation_labels(options, keep):
    """Like `training_and_validation` for labels alone: --annotations FILE, or a COCO folder without its images."""
    path = options.annotations or annotation_file(options.coco, "train")
    training = load_annotations(path, limit=options.limit)
    validation = None
    if not options.annotations and _has_validation(options):
        validation = load_annotations(annotation_file(options.coco, "val"), limit=options.limit)
    return _usable(training, validation, keep, options, path)


def _has_validation(options):
    """Whether there is a validation split and it is wanted; a damaged one is an error when it is read."""
    file = annotation_file(options.coco, "train").with_name("person_keypoints_val2017.json")
    return options.validation == "val" and file.exists()


def _usable(training, validation, keep, options, path):
    if options.validation == "train":
        validation = training
    elif validation is None and len(training) > 1:
        # Before anything is left out, so that all stages, and `evaluate.py --held-out`, hold out the same images.
        training, validation = hold_out(training, options.hold_out, options.seed)
        if options.validation != "held-out":
            print(f"validating on {len(validation)} of the images of {path}: there is no val split")
    training, validation = ([record for record in records if keep(record)] for records in (training, validation or ()))
    for name, records in (("train", training), ("validate", validation)):
        if not records:
            raise UserError(
                f"{path} and its val split leave no image with people to {name} on: raise --limit or --hold-out, or "
                f"pass --validation train"
            )
    return training, validation
