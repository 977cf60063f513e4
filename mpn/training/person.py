"""Stage 2: the person subnet on the frozen backbone (§3.3, §3.5)."""

import dataclasses
import functools

from mpn.data.person import person_dataset, valid_boxes
from mpn.model_directory import last_checkpoint, load_networks, load_part, model_folder, save_part
from mpn.training.distribution import building
from mpn.training.loop import Stage, check_fresh, train
from mpn.training.losses import PERSON_LOSSES
from mpn.training.splits import training_and_validation
from mpn.weights import fingerprint, read_notes

# keras-retinanet's, whose training strategy the paper follows.
CLIPNORM = 0.001


def train_person(settings):
    """Trains stage 2 and leaves person.weights.h5 (the best epoch) in the model directory.

    Args:
        settings: mpn.training.PersonTraining.

    Raises:
        UserError: what a user can put right, such as running before stage 1; see `mpn.training.loop.train` too.
        RuntimeError: the backbone has changed.
    """
    with building(settings):
        networks = load_networks(settings.model, parts=("keypoints",))
        before = fingerprint(networks.backbone)
        if _is_of_another_backbone(last_checkpoint(settings.model, settings.stage), before):
            print(f"the backbone of {settings.model} is not what it was: stage 2 begins anew")
            settings = dataclasses.replace(settings)  # which is not to resume
        else:
            check_fresh(settings)
        detector = networks.person_detector
        if settings.initial_model and not settings.resume:
            load_part(networks, "person", model_folder(settings.initial_model), any_backbone=True)
        networks.backbone.trainable = False
    training, validation = training_and_validation(
        settings.coco, settings.hold_out, settings.seed, keep=lambda record: len(valid_boxes(record)[0]) > 0
    )
    data = functools.partial(
        person_dataset,
        image_size=settings.image_size,
        batch_size=settings.batch_size,
        mirror=settings.mirror,
        scale=settings.scale,
        colour=settings.colour,
        seed=settings.seed,
        cached=settings.cache_images,
    )
    train(
        Stage(
            model=detector,
            loss=PERSON_LOSSES,
            architecture={**networks.config.section("person"), "backbone_fingerprint": before},
            data=data,
            training=training,
            validation=validation,
            save_best=lambda: save_part(networks, "person", settings.model),
            clipnorm=CLIPNORM,
        ),
        settings,
    )
    if fingerprint(networks.backbone) != before:
        raise RuntimeError("the frozen backbone changed while the person subnet was trained")


def _is_of_another_backbone(checkpoint, backbone_fingerprint):
    """Whether stage 1 has gone on since this checkpoint of stage 2, which is then of no use."""
    if not checkpoint.exists():
        return False
    return read_notes(checkpoint).get("architecture", {}).get("backbone_fingerprint") != backbone_fingerprint
