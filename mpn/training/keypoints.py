"""Stage 1: backbone and keypoint subnet (§3.2, §3.5)."""

import functools

from mpn.config import ModelConfig
from mpn.data.keypoints import keypoint_dataset
from mpn.data.patches import ENLARGEMENT, people_alone
from mpn.data.reading import Reading
from mpn.errors import UserError
from mpn.model_directory import (
    config_or,
    load_config,
    load_part,
    model_folder,
    person_command,
    save_stage,
    weights_file,
)
from mpn.models.backbone import LEVELS, freeze_batch_normalization, freeze_up_to, synchronize_batch_normalization
from mpn.models.networks import Networks
from mpn.training.distribution import building
from mpn.training.loop import Stage, check_fresh, train
from mpn.training.losses import masked_l2
from mpn.training.splits import training_and_validation
from mpn.weights import fingerprint, load_backbone_weights, read_notes

# The statistics of smaller batches are too noisy for batch normalisation.
LEAST_BATCH_FOR_NORMALIZATION = 8


def train_keypoints(settings):
    """Trains stage 1 (KeypointTraining) and writes config.json and keypoints.weights.h5, the best epoch's.

    Raises UserError for missing or unusable data, and for settings that do not fit the models involved. See also
    `mpn.training.loop.train`.
    """
    _check(settings)
    check_fresh(settings)
    training, validation = _records(settings)
    config = _configuration(settings)
    if settings.initial_model and not settings.resume:
        settings = settings.with_architecture(config)
    with building(settings) as strategy:
        networks = _networks(settings, config, settings.batch_size // strategy.num_replicas_in_sync)
        model = networks.keypoint_model()
    data = functools.partial(
        keypoint_dataset,
        size=settings.image_size,
        batch_size=settings.batch_size,
        outputs=list(model.output),
        augmentation=settings,
        foreground=settings.foreground,
        seed=settings.seed,
        reading=Reading(settings.cache_images, settings.damaged),
    )
    trained = set()

    def save_best():
        save_stage(networks, "keypoints", settings.model)
        trained.add(fingerprint(networks.backbone))

    person = weights_file(settings.model, "person")
    if person.exists() and settings.frozen_up_to != LEVELS[-1]:
        print(f"{person} will not fit once this stage has better weights: run {person_command(settings.model)} then")
    train(
        Stage(
            model=model,
            loss={name: masked_l2 for name in model.output},
            architecture=config.section("keypoints"),
            data=data,
            training=training,
            validation=validation,
            save_best=save_best,
        ),
        settings,
    )
    if person.exists() and trained - {read_notes(person).get("backbone_fingerprint")}:
        print(f"{person} does not fit the backbone any more: run {person_command(settings.model)}")


def _check(settings):
    begins_from, folded = settings.initial_model and not settings.resume, settings.batch_normalization == "folded"
    if begins_from and folded and not load_config(settings.initial_model).folded:
        raise UserError(
            f"--batch-normalization folded is decided where training begins, and {settings.initial_model} has "
            "normalisation of its own: leave it out"
        )
    for part in ("person", "prn") if settings.refiner_share is not None else ():
        if (path := weights_file(settings.model, part)).exists():
            raise UserError(f"{path} belongs to a model of whole images: train --refiner in another --model directory")


def _records(settings):
    parts = training_and_validation(settings, keep=lambda record: len(record.boxes) > 0)
    if settings.refiner_share is not None:
        parts = [people_alone(records) for records in parts]
        for name, people in zip(("train", "validate"), parts, strict=True):
            if not people:
                raise UserError(f"there is nobody with five labelled keypoints to {name} a refinement network on")
    return parts


def _configuration(settings):
    """The ModelConfig: a resumed run keeps the stored one. A new run keeps the PRN of an existing model directory."""
    if settings.resume:
        return load_config(settings.model)
    architecture = settings.architecture()
    if settings.initial_model:
        initial = load_config(settings.initial_model)
        architecture = {name: getattr(initial, name) for name in architecture}
    architecture |= {"image_size": settings.inference_size, "refiner_share": settings.refiner_share}
    if settings.refiner_share is not None:
        architecture |= {"image_size": (settings.image_size,) * 2, "refiner_enlargement": ENLARGEMENT}
    return config_or(ModelConfig(), settings.model).replace(**architecture)


def _networks(settings, config, batch_of_device):
    """Networks with their first weights, the frozen layers, and batch normalisation set."""
    networks = Networks(config)
    if settings.initial_model and not settings.resume:
        load_part(networks, "keypoints", model_folder(settings.initial_model))
    elif not settings.resume:
        load_backbone_weights(networks.backbone, settings.backbone_weights, config.width)
    normalization = settings.batch_normalization
    if normalization == "auto" and batch_of_device < LEAST_BATCH_FOR_NORMALIZATION:
        normalization = "synchronized" if settings.batch_size >= LEAST_BATCH_FOR_NORMALIZATION else "frozen"
    if normalization == "frozen":
        freeze_batch_normalization(networks.backbone)
    elif normalization == "synchronized" and batch_of_device < settings.batch_size:
        synchronize_batch_normalization(networks.backbone)
    if settings.frozen_up_to:
        freeze_up_to(networks.backbone, settings.frozen_up_to)
    return networks
