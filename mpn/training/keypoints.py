"""Stage 1: backbone and keypoint subnet (§3.2, §3.5)."""

import dataclasses
import functools
import pathlib

import keras

from mpn.cli.arguments import with_longest_side
from mpn.config import ModelConfig
from mpn.data.coco import load_partial
from mpn.data.keypoints import keypoint_dataset
from mpn.data.patches import PatchAugmentation, people_alone
from mpn.errors import UserError
from mpn.heatmaps import STRIDE
from mpn.model_directory import (
    CONFIG_FILE,
    load_config,
    load_part,
    model_folder,
    person_command,
    save_part,
    save_section,
    weights_file,
)
from mpn.models.backbone import LEVELS, freeze_batch_normalization, freeze_up_to
from mpn.models.networks import Networks
from mpn.precision import set_training_precision
from mpn.training.distribution import strategy_scope
from mpn.training.loop import Stage, check_fresh, train
from mpn.training.losses import masked_l2
from mpn.training.options import options_of
from mpn.training.splits import training_and_validation
from mpn.weights import fingerprint, load_backbone_weights, read_notes

# Statistics of fewer images than this are too noisy to normalise with.
LEAST_BATCH_FOR_NORMALIZATION = 8


def train_keypoints(options):
    """Trains stage 1 and leaves config.json and keypoints.weights.h5 (the best epoch) in the model directory.

    Args:
        options: namespace of `train_keypoints.py`.

    Raises:
        UserError: what a user can put right; see `mpn.training.loop.train` too.
    """
    _check(options)
    check_fresh(options, "keypoints")
    training, validation = training_and_validation(options, keep=lambda record: len(record.boxes) > 0)
    partial = load_partial(options.partial) if options.partial else []
    if options.refiner:
        training, validation, partial = (people_alone(records) for records in (training, validation, partial))
        _check_people(training, validation, partial if options.partial else None)
    config = _configuration(options)
    vars(options).update(options_of(config, "keypoints"))  # as they came from --initial-model, to be stored
    set_training_precision(options.precision)
    keras.utils.set_random_seed(options.seed)  # initial weights and dropout
    with strategy_scope(options.batch_size):
        networks = _networks(options, config)
        model = networks.keypoint_model()
    data = _data(options, list(model.output), partial)

    def loss(y_true, y_pred):
        return masked_l2(y_true, y_pred, options.silhouette_weight)

    trained = set()

    def save_best():
        save_section(config, options.model, "keypoints")
        save_part(networks, "keypoints", options.model)
        trained.add(fingerprint(networks.backbone))

    person = weights_file(options.model, "person")
    if person.exists() and options.frozen_up_to != LEVELS[-1]:
        print(f"{person} will not fit once this stage has better weights: run {person_command(options.model)} then")
    train(
        Stage(
            name="keypoints",
            model=model,
            loss={name: loss for name in model.output},
            architecture=config.section("keypoints"),
            samples=len(training),
            training_data=lambda first: data(training, first=first),
            validation_data=data(validation, training=False),
            save_best=save_best,
        ),
        options,
    )
    if person.exists() and trained - {read_notes(person).get("backbone_fingerprint")}:
        print(f"{person} does not fit the backbone any more: run {person_command(options.model)}")


def _networks(options, config):
    """Networks with the weights that training starts from; layers that keep theirs are frozen."""
    networks = Networks(config)
    if options.initial_model and not options.resume:
        load_part(networks, "keypoints", model_folder(options.initial_model))
    elif not options.resume:
        load_backbone_weights(networks.backbone, options.backbone_weights, config.width)
    if _frozen_normalization(options):
        freeze_batch_normalization(networks.backbone)
    if options.frozen_up_to:
        freeze_up_to(networks.backbone, options.frozen_up_to)
    return networks


def _data(options, outputs, partial):
    """`keypoint_dataset` with everything but the records and the place to begin at."""
    names = [field.name for field in dataclasses.fields(PatchAugmentation)]
    augmentation = PatchAugmentation(
        **{name: getattr(options, name) for name in names} | {"scale": tuple(options.scale)}
    )
    return functools.partial(
        keypoint_dataset,
        size=options.image_size,
        batch_size=options.batch_size,
        outputs=outputs,
        augmentation=augmentation,
        seed=options.seed,
        workers=options.workers,
        partial=partial,
        partial_share=options.partial_share,
        sigma=options.sigma / STRIDE,
        foreground=options.foreground,
        cached=options.cache_images,
    )


def _check(options):
    if options.image_size % 32:
        raise UserError(f"--image-size must be a multiple of 32, not {options.image_size}")
    if options.initial_model and not options.resume:
        initial = load_config(options.initial_model)
        if options.batch_normalization == "folded" and not initial.folded:
            raise UserError(
                f"--batch-normalization folded is decided where training begins, and {options.initial_model} has "
                "normalisation of its own: leave it out"
            )
    if options.refiner:
        _check_refiner(options)


def _check_refiner(options):
    if not 0 < options.person_share <= 1:
        raise UserError(f"--person-share of --refiner must be above 0 and up to 1, not {options.person_share}")
    for part in ("person", "prn"):
        if (path := weights_file(options.model, part)).exists():
            raise UserError(f"{path} belongs to a model of whole images: train --refiner in another --model directory")
    if options.framing != "person":
        raise UserError(f"--refiner sees one person at a time: leave out --framing {options.framing}")
    if options.inference_size:
        raise UserError("--refiner works on crops of --image-size: leave out --inference-size")
    if options.paste:
        raise UserError("--refiner learns to find one person a crop, and --paste adds another: leave it out")


def _check_people(training, validation, partial):
    for name, people in (("train", training), ("validate", validation), ("train with --partial", partial)):
        if people is not None and not people:
            raise UserError(f"there is nobody with five labelled keypoints to {name} a refinement network on")


def _configuration(options):
    """The model directory's configuration.

    The stored one when resuming; else what the command line says, or the model to start from, and the PRN of the
    model directory where stage 3 came first.
    """
    path = pathlib.Path(options.model) / CONFIG_FILE
    if options.resume:
        return load_config(options.model)
    base = load_config(options.model) if path.exists() else ModelConfig()
    given = {"image_size": options.inference_size or with_longest_side(options.image_size), "refiner_share": None}
    if options.refiner:
        given |= {"image_size": (options.image_size, options.image_size), "refiner_share": options.person_share}
        given |= {"refiner_enlargement": options.enlargement}
    if options.initial_model:
        architecture = dataclasses.asdict(load_config(options.initial_model))
        names = {name for name in architecture if not name.startswith("prn_")} - set(given)
        return base.replace(**given, **{name: architecture[name] for name in names})
    names = {field.name for field in dataclasses.fields(ModelConfig)} - set(given)
    given |= {key: value for key, value in vars(options).items() if key in names}
    return base.replace(**given, folded=options.batch_normalization == "folded")


def _frozen_normalization(options):
    if options.batch_normalization == "auto":
        return options.batch_size < LEAST_BATCH_FOR_NORMALIZATION
    return options.batch_normalization == "frozen"
