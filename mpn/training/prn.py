"""Stage 3: the Pose Residual Network, from labels alone (§3.4, §3.5)."""

import functools

import numpy as np

from mpn import roi
from mpn.config import ModelConfig
from mpn.data.imperfect import Imperfections
from mpn.data.prn import collect_people, gather_people, prn_dataset
from mpn.errors import UserError
from mpn.model_directory import config_or, load_config, save_stage
from mpn.models.networks import Networks
from mpn.training.distribution import building
from mpn.training.loop import Stage, check_fresh, train
from mpn.training.losses import PRN_LOSSES
from mpn.training.splits import training_and_validation


def train_prn(settings):
    """Trains stage 3 (PrnTraining) and writes prn.weights.h5, the best epoch's, and UCR's position maps.

    The PRN needs no other stage: if the model directory has no config.json, this writes one. Raises UserError for
    missing or unusable data, and for the directory of a refinement network. See also `mpn.training.loop.train`.
    """
    check_fresh(settings)
    training, validation = training_and_validation(settings, lambda record: bool(record.labelled.any()), images=False)
    config = _configuration(settings)
    with building(settings):
        networks = Networks(config)
        model = networks.prn
    training, validation = collect_people(training), collect_people(validation)
    networks.position_prior = position_prior(training, config.prn_margin)
    data = functools.partial(
        prn_dataset,
        batch_size=settings.batch_size,
        margin=config.prn_margin,
        jitter=settings.box_jitter,
        mirror=settings.mirror,
        imperfections=Imperfections(*settings.imperfections),
        curriculum=settings.curriculum,
        seed=settings.seed,
    )

    train(
        Stage(
            model=model,
            loss=PRN_LOSSES[settings.loss],
            architecture=config.section("prn"),
            data=data,
            training=training,
            validation=validation,
            save_best=lambda: save_stage(networks, "prn", settings.model),
        ),
        settings,
    )


def position_prior(people, margin, batch_size=1024):
    """Returns UCR's P_k (Eq. 2), (56, 36, 17) float32: the mean label of each keypoint over PrnPeople.

    Each keypoint sums to 1, or to 0 if nobody has it. `margin` is the share of its size by which a box grows.
    """
    total = np.zeros((roi.ROI_HEIGHT, roi.ROI_WIDTH, people.keypoints.shape[1]), np.float64)
    for start in range(0, len(people.targets), batch_size):
        _, _, own, labelled, boxes = gather_people(people, people.targets[start : start + batch_size])
        labels = roi.encode_labels(own, labelled, roi.enlarge_boxes(boxes, margin))
        total += np.asarray(labels).sum(axis=0)
    return (total / np.maximum(total.sum(axis=(0, 1)), 1e-12)).astype(np.float32)


def _configuration(settings):
    """The model directory's ModelConfig, with the settings' PRN unless the run is resumed."""
    config = load_config(settings.model) if settings.resume else config_or(ModelConfig(), settings.model)
    if config.refiner_share is not None:
        raise UserError(f"{settings.model} is a refinement network, which has no PRN: name another --model directory")
    return config if settings.resume else config.replace(**settings.architecture())
