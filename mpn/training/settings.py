"""Settings of the three stages, which are also the options of their scripts. The defaults are the paper's values."""

import dataclasses
import os
from typing import ClassVar

from mpn import kinds
from mpn.config import BACKBONE_NAMES, CHANNELS, ModelConfig, named_backbone
from mpn.data.augmentation import PatchAugmentation
from mpn.data.imperfect import PERFECT
from mpn.settings import Settings, SettingsError, option, options_of, same_option


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training(Settings):
    """Settings that all stages share."""

    stage: ClassVar[str]  # its name in the model directory

    coco: str | None = option(
        lambda: os.environ.get("MPN_COCO"),
        kinds.PATH,
        "folder in COCO layout: train2017/, val2017/, annotations/ (default: $MPN_COCO)",
        may_change=True,
        metavar="DIR",
    )
    model: str = option("models/multiposenet", kinds.PATH, "model directory", metavar="DIR")
    epochs: int = option(40, kinds.positive_int, "train up to this many epochs in all", may_change=True)
    steps_per_epoch: int | None = option(None, kinds.positive_int, "batches in an epoch; default: the whole data set")
    batch_size: int = option(8, kinds.positive_int, "samples in a step, over all devices")
    learning_rate: float = option(1e-4, kinds.positive_float, "Adam's, at the start", may_change=True)
    schedule: str = option(
        "plateau",
        kinds.choice("plateau", "cosine"),
        "of the learning rate: x 0.1 after three epochs without a better val_loss, or down to 1 % along half a cosine",
    )
    average: float | None = option(
        None,
        kinds.share_below_1,
        "validate and keep a moving average of the weights; 0.999 averages about 1000 steps",
        metavar="DECAY",
    )
    precision: str = option(
        "float32", kinds.choice("float32", "mixed_bfloat16", "mixed_float16"), "number format", may_change=True
    )
    jit: str = option(
        "auto",
        kinds.choice("auto", "on", "off"),
        "compile network and gradient with XLA; auto does so on a GPU if all images have one size",
        may_change=True,
    )
    hold_out: float | None = option(
        None,
        kinds.share_below_1,
        "validate on this share of train2017, which is not trained on; 0 validates on the training images themselves "
        "(default: val2017, or 0.02 where there is none)",
        metavar="SHARE",
    )
    seed: int = option(0, kinds.natural, "makes a run repeatable, data order included")
    resume: bool = dataclasses.field(default=False, init=False)  # only `resumed` sets it

    @classmethod
    def resumed(cls, model=None, **changes):
        """Returns the settings of the run in a model directory, to resume it. See `mpn.training.resume.resumed`."""
        from mpn.training.resume import resumed

        return resumed(cls, model or cls.model, changes)


# Fields that KeypointTraining and ModelConfig share.
_OF_CONFIG = ("width", "concat", "intermediate_supervision")


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeypointTraining(PatchAugmentation, Training):
    """Settings of stage 1: backbone and keypoint subnet (§3.2, §3.5)."""

    stage: ClassVar[str] = "keypoints"

    epochs: int = same_option(Training, "epochs", default=100)
    image_size: int = option(480, kinds.positive_int, "side of the square training patches")
    cache_images: bool = option(False, kinds.SWITCH, "keep decoded images in memory", may_change=True)
    damaged: float = option(
        0.01,
        kinds.share,
        "share of the images, but at least three, that may be damaged: each is named, and others take its place; with "
        "0 the first one ends the run",
        may_change=True,
        metavar="SHARE",
    )
    backbone: str = option(
        "resnet50", kinds.choice(*BACKBONE_NAMES), "feature extractor; dilated: conv5 is not strided (Table 2)"
    )
    width: float = option(1.0, kinds.positive_float, "channel multiplier of a MobileNet")
    channels: tuple = option(
        tuple(getattr(ModelConfig, name) for name in CHANNELS),
        kinds.several(*[kinds.positive_int] * len(CHANNELS)),
        "depths of K2-K5, of each D level, of P3-P7, and of RetinaNet's heads",
        metavar=("K", "D", "P", "H"),
    )
    concat: bool = option(True, kinds.SWITCH, "concatenate D2-D5; --no-concat is Table 2's row of that name")
    intermediate_supervision: bool = option(True, kinds.SWITCH, "losses on K2-K5; --no-int is Table 2's", flag="--int")
    inference_size: tuple | None = option(
        None, kinds.SIDES, "sides of images for inference; default: --image-size and 5/3 of it"
    )
    backbone_weights: str = option("imagenet", kinds.TEXT, "imagenet (downloads), none, or an .h5", metavar="WEIGHTS")
    initial_model: str | None = option(
        None,
        kinds.TEXT,
        "start from the backbone and keypoint subnet of this model directory, or of a model that comes with the "
        "package, and take its architecture too",
        metavar="DIR",
    )
    batch_normalization: str = option(
        "auto",
        kinds.choice("auto", "train", "synchronized", "frozen", "folded"),
        "auto trains it from batch size 8 up, and synchronizes its statistics if a device has fewer than 8 images; "
        "folded merges it into the convolutions, which trains faster",
    )
    frozen_up_to: str | None = option(
        None, kinds.choice("C2", "C3", "C4", "C5"), "backbone layers up to this level keep their weights"
    )
    foreground: float = option(0.0, kinds.non_negative, "additional weight of a keypoint's cells in the loss")

    def check(self):
        if self.image_size % 32:
            raise SettingsError(f"{{image_size}} must be a multiple of 32, not {self.image_size}")
        if self.refiner_share is None:
            if self.inference_size is None:
                object.__setattr__(self, "inference_size", kinds.with_longest_side(self.image_size))
        elif self.framing != "person":
            raise SettingsError(f"{{refiner_share}} sees one person at a time: leave out {{framing}} {self.framing}")
        elif self.inference_size:
            raise SettingsError("{refiner_share} works on crops of {image_size}: leave out {inference_size}")

    def architecture(self):
        """Returns ModelConfig's fields of the networks of stages 1 and 2, as a dict."""
        fields = {name: getattr(self, name) for name in _OF_CONFIG} | dict(zip(CHANNELS, self.channels, strict=True))
        return fields | named_backbone(self.backbone) | {"folded": self.batch_normalization == "folded"}

    def with_architecture(self, config):
        """Returns a copy of these settings with the architecture of a ModelConfig."""
        fields = {name: getattr(config, name) for name in _OF_CONFIG}
        fields["backbone"] = config.backbone + "-dilated" * config.dilated
        return dataclasses.replace(self, channels=tuple(getattr(config, name) for name in CHANNELS), **fields)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PersonTraining(Training):
    """Settings of stage 2: the person subnet on the frozen backbone (§3.3, §3.5)."""

    stage: ClassVar[str] = "person"

    epochs: int = same_option(Training, "epochs", default=50)
    batch_size: int = same_option(Training, "batch_size", default=4)
    learning_rate: float = same_option(Training, "learning_rate", default=1e-5)
    image_size: tuple = option((800, 1333), kinds.SIDES, "sides of images; LONGEST may be left out: 5/3 of SHORTER")
    cache_images: bool = same_option(KeypointTraining, "cache_images")
    damaged: float = same_option(KeypointTraining, "damaged")
    initial_model: str | None = option(
        None,
        kinds.TEXT,
        "start from the person subnet of this model directory, or of a model that comes with the package, which may "
        "have been trained on another backbone of the same architecture",
        metavar="DIR",
    )
    scale: tuple = same_option(PatchAugmentation, "scale", default=(1.0, 1.0))
    mirror: float = same_option(PatchAugmentation, "mirror", default=0.5)
    colour: float = same_option(PatchAugmentation, "colour", default=0.0)


# Designs of the PRN (§3.4, §3.5, §4.2). `window` and `assignment` are for inference.
_OF_PRN = [name for name in options_of(ModelConfig) if name.startswith("prn_")]
_PAPER = {name.removeprefix("prn_"): getattr(ModelConfig, name) for name in _OF_PRN} | {
    "loss": "bce",
    "curriculum": True,
    "box_jitter": 0.0,
    "mirror": 0.0,
    "schedule": "plateau",
    "learning_rate": 1e-4,
}
_BEST = _PAPER | {
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
DESIGNS = {"paper": _PAPER, "best": _BEST, "compact": _BEST | {"nodes": 512, "dropout": 0.0}}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrnTraining(Training):
    """Settings of stage 3: the PRN, from labels alone (§3.4, §3.5). `design` replaces values that are None."""

    stage: ClassVar[str] = "prn"

    annotations: str | None = option(
        None, kinds.PATH, "COCO keypoints JSON (or .gz) instead of --coco", may_change=True, metavar="FILE"
    )
    limit: int | None = option(None, kinds.positive_int, "only the first N images of each split", metavar="N")
    batch_size: int = same_option(Training, "batch_size", default=256)
    design: str = option(
        "paper",
        kinds.choice(*DESIGNS),
        "decides what is not given of the options below, and of --schedule and --learning-rate",
    )
    learning_rate: float | None = same_option(Training, "learning_rate", default=None)
    schedule: str | None = same_option(Training, "schedule", default=None)
    nodes: int | None = option(None, kinds.positive_int, "units of a hidden layer")
    layers: int | None = option(None, kinds.positive_int, "hidden layers")
    dropout: float | None = option(None, kinds.share, "rate after each hidden layer")
    residual: bool | None = option(None, kinds.SWITCH, "Eq. 1, or without it Eq. 3")
    pool: int | None = option(None, kinds.choice(1, 2, 4), "factor by which the layers see a coarser grid")
    residual_gain: bool | None = option(None, kinds.SWITCH, "a learned factor for the input that is added")
    margin: float | None = option(None, kinds.share, "share of its size by which a box grows on each side")
    loss: str | None = option(None, kinds.choice("bce", "cross-entropy"), "bce is the paper's")
    curriculum: bool | None = option(None, kinds.SWITCH, "easy people first in each epoch")
    box_jitter: float | None = option(None, kinds.jitter, "largest move of a box side, as a share of the box's size")
    mirror: float | None = option(None, kinds.share, "probability of mirroring left to right")
    imperfections: tuple = option(
        dataclasses.astuple(PERFECT),
        kinds.several(kinds.share, kinds.share, kinds.share, kinds.positive_share),
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
        return {name: values[name.removeprefix("prn_")] for name in _OF_PRN}


def to_store(settings):
    """Returns the settings that a checkpoint stores, as a dict for JSON; paths are absolute."""
    fields = [field for name, field in options_of(settings).items() if name != "model"]
    stored = {field.name: getattr(settings, field.name) for field in fields}
    paths = {field.name for field in fields if field.metadata["kind"] is kinds.PATH}
    return {name: os.path.abspath(v) if v and name in paths else v for name, v in stored.items()}
