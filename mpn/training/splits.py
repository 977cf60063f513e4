"""Which images a stage trains on, and which it validates on."""

from mpn.data.coco import annotation_file, hold_out, load_annotations, load_coco
from mpn.errors import UserError


def training_and_validation(options, keep):
    """Records of train2017, and of val2017 where the folder has it, else of a held-out share of train2017.

    With --validation train both are the same: a model that is to learn a few images by heart is judged by them.

    Args:
        options: namespace with coco, limit, hold_out, seed and validation.
        keep: function of an ImageRecord that tells whether the stage can use it.

    Returns:
        two lists of ImageRecord, neither empty.

    Raises:
        UserError: a missing folder or file, or nothing usable in it.
    """
    training = load_coco(options.coco, "train", options.limit)
    try:
        validation = load_coco(options.coco, "val", options.limit)
    except UserError:
        validation = None
    return _usable(training, validation, keep, options, annotation_file(options.coco, "train"))


def training_and_validation_labels(options, keep):
    """Like `training_and_validation` for labels alone: --annotations FILE, or a COCO folder without its images."""
    path = options.annotations or annotation_file(options.coco, "train")
    training = load_annotations(path, limit=options.limit)
    validation = None
    if not options.annotations:
        try:
            validation = load_annotations(annotation_file(options.coco, "val"), limit=options.limit)
        except UserError:
            validation = None
    return _usable(training, validation, keep, options, path)


def _usable(training, validation, keep, options, path):
    training = [record for record in training if keep(record)]
    validation = [record for record in validation or () if keep(record)]
    if options.validation == "train":
        validation = training
    if not validation and len(training) > 1:
        training, validation = hold_out(training, options.hold_out, options.seed)
    if not training or not validation:
        raise UserError(f"{path} has too few images with people to train and validate on")
    return training, validation
