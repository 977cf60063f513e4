"""Settings of the three stages, which are also the options of their scripts. The defaults are the paper's values."""

import dataclasses
import os
from typing import ClassVar

from mpn.config import BACKBONES, ModelConfig
from mpn.data.augmentation import PatchAugmentation
from mpn.data.imperfect import PERFECT
from mpn.settings import (
    PATH,
    SIDES,
    SWITCH,
    TEXT,
    Settings,
    SettingsError,
    choice,
    jitter,
    natural,
    non_negative,
    option,
    options_of,
    positive_float,
    positive_int,
    positive_share,
    several,
    share,
    share_below_1,
    with_default,
    with_longest_side,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training(Settings):
    """Settings that all stages share."""

    stage: ClassVar[str]  # its name in the model directory

    coco: str | None = option(
        lambda: os.environ.get("MPN_COCO"),
        PATH,
        "folder in COCO layout: train2017/, val2017/, annotations/ (default: $MPN_COCO)",
        may_change=True,
        metavar="DIR",
    )
    model: str = option("models/multiposenet", PATH, "model directory", metavar="DIR")
    epochs: int = option(40, positive_int, "train up to this many epochs in all", may_change=True)
    steps_per_epoch: int | None = option(None, positive_int, "batches in an epoch; default: the whole data set")
    batch_size: int = option(8, positive_int, "samples in a step, over all devices")
    learning_rate: float = option(1e-4, positive_float, "Adam's, at the start", may_change=True)
    schedule: str = option(
        "plateau",
        choice("plateau", "cosine"),
        "of the learning rate: x 0.1 after three epochs without a better val_loss, or down to 1 % along half a cosine",
    )
    average: float | None = option(
        None,
        share_below_1,
        "validate and keep a moving average of the weights; 0.999 averages about 1000 steps",
        metavar="DECAY",
    )
    precision: str = option(
        "float32", choice("float32", "mixed_bfloat16", "mixed_float16"), "number format", may_change=True
    )
    jit: str = option(
        "auto",
        choice("auto", "on", "off"),
        "compile network and gradient with XLA; auto does so on a GPU if all images have one size",
        may_change=True,
    )
    hold_out: float | None = option(
        None,
        share_below_1,
        "validate on this share of train2017, which is not trained on; 0 validates on the training images themselves "
        "(default: val2017, or 0.02 where there is none)",
        metavar="SHARE",
    )
    seed: int = option(0, natural, "makes a run repeatable, data order included")
    resume: bool = dataclasses.field(default=False, init=False)  # only `resumed` sets it

    @classmethod
    def resumed(cls, model=None, **changes):
        """Returns the settings of the run in a model directory, to resume it. See `mpn.training.resume.resumed`."""
        from mpn.training.resume import resumed

        return resumed(cls, model or cls.model, changes)


# Fields that KeypointTraining and ModelConfig share.
_OF_CONFIG = ("backbone", "dilated", "width", "concat", "intermediate_supervision")


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeypointTraining(PatchAugmentation, Training):
    """Settings of stage 1: backbone and keypoint subnet (§3.2, §3.5)."""

    stage: ClassVar[str] = "keypoints"

    epochs: int = with_default(Training, "epochs", 100)
    image_size: int = option(480, positive_int, "side of the square training patches")
    cache_images: bool = option(False, SWITCH, "keep decoded images in memory", may_change=True)
    damaged: float = option(
        0.01,
        share,
        "share of the images, but at least three, that may be damaged: each is named, and others take its place; with "
        "0 the first one ends the run",
        may_change=True,
        metavar="SHARE",
    )
    backbone: str = option("resnet50", choice(*BACKBONES), "feature extractor")
    dilated: bool = option(False, SWITCH, "ResNet conv5 dilated instead of strided (Table 2)")
    width: float = option(1.0, positive_float, "channel multiplier of a MobileNet")
    keypoint_channels: tuple = option(
        (256, 128), several(positive_int, positive_int), "depths of K2-K5 and of each D level", metavar=("K", "D")
    )
    person_channels: tuple = option(
        (256, 256), several(positive_int, positive_int), "depths of P3-P7 and of RetinaNet's heads", metavar=("P", "H")
    )
    concat: bool = option(True, SWITCH, "concatenate D2-D5; --no-concat is Table 2's row of that name")
    intermediate_supervision: bool = option(True, SWITCH, "losses on K2-K5; --no-int is Table 2's", flag="--int")
    inference_size: tuple | None = option(
        None, SIDES, "sides of images for inference; default: --image-size and 5/3 of it"
    )
    backbone_weights: str = option("imagenet", TEXT, "imagenet (downloads), none, or a local .h5", metavar="WEIGHTS")
    initial_model: str | None = option(
        None,
        TEXT,
        "start from the backbone and keypoint subnet of this model directory, or of a model that comes with the "
        "package, and take its architecture too",
        metavar="DIR",
    )
    batch_normalization: str = option(
        "auto",
        choice("auto", "train", "synchronized", "frozen", "folded"),
        "auto trains it from batch size 8 up, and synchronizes its statistics if a device has fewer than 8 images; "
        "folded merges it into the convolutions, which trains faster",
    )
    frozen_up_to: str | None = option(
        None, choice("C2", "C3", "C4", "C5"), "backbone layers up to this level keep their weights"
    )
    foreground: float = option(0.0, non_negative, "additional weight of a keypoint's cells in the loss")

    def check(self):
        if self.image_size % 32:
            raise SettingsError(f"{{image_size}} must be a multiple of 32, not {self.image_size}")
        if self.refiner_share is None:
            if self.inference_size is None:
                object.__setattr__(self, "inference_size", with_longest_side(self.image_size))
        elif self.framing != "person":
            raise SettingsError(f"{{refiner_share}} sees one person at a time: leave out {{framing}} {self.framing}")
        elif self.inference_size:
            raise SettingsError("{refiner_share} works on crops of {image_size}: leave out {inference_size}")

    def architecture(self):
        """Returns ModelConfig's fields of the networks of stages 1 and 2, as a dict."""
        return {name: getattr(self, name) for name in _OF_CONFIG} | {
            "folded": self.batch_normalization == "folded",
            "keypoint_channels": self.keypoint_channels[0],
            "keypoint_head_channels": self.keypoint_channels[1],
            "person_channels": self.person_channels[0],
            "person_head_channels": self.person_channels[1],
        }

    def with_architecture(self, config):
        """Returns a copy of these settings with the architecture of a ModelConfig."""
        return dataclasses.replace(
            self,
            keypoint_channels=(config.keypoint_channels, config.keypoint_head_channels),
            person_channels=(config.person_channels, config.person_head_channels),
            **{name: getattr(config, name) for name in _OF_CONFIG},
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PersonTraining(Training):
    """Settings of stage 2: the person subnet on the frozen backbone (§3.3, §3.5)."""

    stage: ClassVar[str] = "person"

    epochs: int = with_default(Training, "epochs", 50)
    batch_size: int = with_default(Training, "batch_size", 4)
    learning_rate: float = with_default(Training, "learning_rate", 1e-5)
    image_size: tuple = option((800, 1333), SIDES, "sides of images; LONGEST may be left out: 5/3 of SHORTER")
    cache_images: bool = with_default(KeypointTraining, "cache_images", False)
    damaged: float = with_default(KeypointTraining, "damaged", 0.01)
    initial_model: str | None = option(
        None,
        TEXT,
        "start from the person subnet of this model directory, or of a model that comes with the package, which may "
        "have been trained on another backbone of the same architecture",
        metavar="DIR",
    )
    scale: tuple = with_default(PatchAugmentation, "scale", (1.0, 1.0))
    mirror: float = with_default(PatchAugmentation, "mirror", 0.5)
    colour: float = with_default(PatchAugmentation, "colour", 0.0)


# Designs of the PRN (§3.4, §3.5, §4.2); the margin of 21 % is from the authors' code. `window` and `assignment` are for
# inference.
_PAPER = {
    "nodes": 1024,
    "layers": 1,
    "dropout": 0.5,
    "residual": True,
    "pool": 1,
    "residual_gain": False,
    "margin": 0.21,
    "window": 15,
    "assignment": "greedy",
    "loss": "bce",
    "curriculum": True,
    "box_jitter": 0.0,
    "mirror": 0.0,
    "schedule": "plateau",
    "learning_rate": 1e-4,
}
_BEST = {
    **_PAPER,
    "dropout": 0.3,
    "pool": 4,
    "residual_gain": True,
    "margin": 0.5,
    "window": 11,
    "assignment": "optimal",
    "loss": "cross-entropy",
    "curriculum": False,
    "box_jitter": 0.1,
    "mirror": 0.5,
    "schedule": "cosine",
    "learning_rate": 1e-3,
}
DESIGNS = {"paper": _PAPER, "best": _BEST, "compact": {**_BEST, "nodes": 512, "dropout": 0.0}}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrnTraining(Training):
    """Settings of stage 3: the PRN, from labels alone (§3.4, §3.5). `design` replaces values that are None."""

    stage: ClassVar[str] = "prn"

    annotations: str | None = option(
        None, PATH, "COCO keypoints JSON (or .gz) instead of --coco", may_change=True, metavar="FILE"
    )
    limit: int | None = option(None, positive_int, "only the first N images of each split", metavar="N")
    batch_size: int = with_default(Training, "batch_size", 256)
    design: str = option(
        "paper",
        choice(*DESIGNS),
        "decides what is not given of the options below, and of --schedule and --learning-rate",
    )
    learning_rate: float | None = with_default(Training, "learning_rate", None)
    schedule: str | None = with_default(Training, "schedule", None)
    nodes: int | None = option(None, positive_int, "units of a hidden layer")
    layers: int | None = option(None, positive_int, "hidden layers")
    dropout: float | None = option(None, share, "rate after each hidden layer")
    residual: bool | None = option(None, SWITCH, "Eq. 1, or without it Eq. 3")
    pool: int | None = option(None, choice(1, 2, 4), "factor by which the layers see a coarser grid")
    residual_gain: bool | None = option(None, SWITCH, "a learned factor for the input that is added")
    margin: float | None = option(None, share, "share of its size by which a box grows on each side")
    loss: str | None = option(None, choice("bce", "cross-entropy"), "bce is the paper's")
    curriculum: bool | None = option(None, SWITCH, "easy people first in each epoch")
    box_jitter: float | None = option(None, jitter, "largest move of a box side, as a share of the box's size")
    mirror: float | None = option(None, share, "probability of mirroring left to right")
    imperfections: tuple = option(
        dataclasses.astuple(PERFECT),
        several(share, share, share, positive_share),
        "of the keypoints to train on: their error in units of 2 sigma_k sqrt(area), the share that is missing, false "
        "ones as a share of the true, and the least height of a peak, where 1 is the most",
        metavar=("ERROR", "MISSING", "FALSE", "HEIGHT"),
    )

    def __post_init__(self):
        for name, value in DESIGNS.get(str(self.design), {}).items():
            if getattr(self, name, value) is None:
                object.__setattr__(self, name, value)
        super().__post_init__()

    def architecture(self):
        """Returns ModelConfig's fields of the PRN, as a dict."""
        values = DESIGNS[self.design] | vars(self)
        names = (field.name for field in dataclasses.fields(ModelConfig) if field.name.startswith("prn_"))
        return {name: values[name.removeprefix("prn_")] for name in names}


def to_store(settings):
    """Returns the settings that a checkpoint stores, as a dict for JSON."""
    stored = {name: getattr(settings, name) for name in options_of(settings) if name != "model"}
    for name, field in options_of(settings).items():
        if field.metadata["kind"] is PATH and stored.get(name):
            stored[name] = os.path.abspath(stored[name])
    return stored
