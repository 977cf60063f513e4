"""Stage 2: the person subnet on the frozen backbone (§3.3, §3.5)."""

import functools

import keras

from mpn.data.person import person_dataset, valid_boxes
from mpn.model_directory import last_checkpoint, load_networks, load_part, model_folder, save_part
from mpn.precision import set_training_precision
from mpn.training.distribution import strategy_scope
from mpn.training.loop import Stage, check_fresh, train
from mpn.training.losses import PERSON_LOSSES
from mpn.training.splits import training_and_validation
from mpn.weights import fingerprint, read_notes

# keras-retinanet's, whose training strategy the paper follows.
CLIPNORM = 0.001


def train_person(options):
    """Trains stage 2 and leaves person.weights.h5 (the best epoch) in the model directory.

    Args:
        options: namespace of `train_person.py`.

    Raises:
        UserError: what a user can put right, such as running before stage 1.
        RuntimeError: the backbone did not stay as it was.
    """
    set_training_precision(options.precision)
    keras.utils.set_random_seed(options.seed)  # initial weights and dropout
    with strategy_scope(options.batch_size):
        networks = load_networks(options.model, parts=("keypoints",))
        before = fingerprint(networks.backbone)
        if _is_of_another_backbone(last_checkpoint(options.model, "person"), before):
            print(f"the backbone of {options.model} is not what it was: stage 2 begins anew")
            options.resume = False
        else:
            check_fresh(options, "person")
        detector = networks.person_detector
        if options.initial_model and not options.resume:
            load_part(networks, "person", model_folder(options.initial_model), any_backbone=True)
        networks.backbone.trainable = False
    training, validation = training_and_validation(options, keep=lambda record: len(valid_boxes(record)[0]) > 0)

    data = functools.partial(
        person_dataset,
        image_size=options.image_size,
        batch_size=options.batch_size,
        mirror=options.mirror,
        scale=tuple(options.scale),
        colour=options.colour,
        cached=options.cache_images,
        seed=options.seed,
        workers=options.workers,
    )

    train(
        Stage(
            name="person",
            model=detector,
            loss=PERSON_LOSSES,
            architecture={**networks.config.section("person"), "backbone_fingerprint": before},
            samples=len(training),
            training_data=lambda first: data(training, first=first),
            validation_data=data(validation, training=False),
            save_best=lambda: save_part(networks, "person", options.model),
            clipnorm=CLIPNORM,
        ),
        options,
    )
    if fingerprint(networks.backbone) != before:
        raise RuntimeError("the frozen backbone changed while the person subnet was trained")


def _is_of_another_backbone(checkpoint, backbone_fingerprint):
    """Whether stage 1 has gone on since stage 2 was trained, whose state is then of no use."""
    if not checkpoint.exists():
        return False
    return read_notes(checkpoint).get("architecture", {}).get("backbone_fingerprint") != backbone_fingerprint
