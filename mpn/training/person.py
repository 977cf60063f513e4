"""Stage 2: the person subnet on the frozen backbone (§3.3, §3.5)."""

import dataclasses
import functools

from mpn.data.person import person_dataset, valid_boxes
from mpn.data.reading import Reading
from mpn.model_directory import last_checkpoint, load_networks, load_part, model_folder, save_part
from mpn.training.distribution import building
from mpn.training.loop import Stage, check_fresh, train
from mpn.training.losses import PERSON_LOSSES
from mpn.training.splits import training_and_validation
from mpn.weights import fingerprint, read_notes

# As in keras-retinanet; the paper follows its training strategy.
CLIPNORM = 0.001


def train_person(settings):
    """Trains stage 2 (PersonTraining) and writes person.weights.h5, the best epoch's, to the model directory.

    If the backbone has changed since the last checkpoint, stage 2 begins anew. Raises UserError for missing or unusable
    data, and if stage 1 has not been trained. See also `mpn.training.loop.train`.
    """
    with building(settings):
        networks = load_networks(settings.model, parts=("keypoints",))
        before = fingerprint(networks.backbone)
        checkpoint = last_checkpoint(settings.model, settings.stage)
        notes = read_notes(checkpoint) if checkpoint.exists() else None
        if notes and notes.get("architecture", {}).get("backbone_fingerprint") != before:
            print(f"the backbone of {settings.model} is not what it was: stage 2 begins anew")
            settings = dataclasses.replace(settings)  # drops `resume`
        else:
            check_fresh(settings)
        detector = networks.person_detector
        if settings.initial_model and not settings.resume:
            load_part(networks, "person", model_folder(settings.initial_model), any_backbone=True)
        networks.backbone.trainable = False
    training, validation = training_and_validation(settings, keep=lambda record: len(valid_boxes(record)[0]) > 0)
    data = functools.partial(
        person_dataset,
        image_size=settings.image_size,
        batch_size=settings.batch_size,
        mirror=settings.mirror,
        scale=settings.scale,
        colour=settings.colour,
        seed=settings.seed,
        reading=Reading(settings.cache_images, settings.damaged),
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
            fixed_size=False,
        ),
        settings,
    )
    if fingerprint(networks.backbone) != before:
        raise RuntimeError("the frozen backbone changed while the person subnet was trained")
