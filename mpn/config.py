"""The architecture of a model: a frozen dataclass, which `mpn.model_directory` stores as config.json."""

import dataclasses
import reprlib

from mpn.errors import UserError
from mpn.files import read_json
from mpn.kinds import SWITCH, between, choice, odd, positive_share, several, share_below_1
from mpn.settings import Settings, SettingsError, option

BACKBONES = ("resnet50", "resnet101", "mobilenet_v2")
# What command lines call them, with `dilated` in the name.
BACKBONE_NAMES = (*BACKBONES, "resnet50-dilated", "resnet101-dilated")
PRN_ASSIGNMENTS = ("greedy", "optimal")

# Fields with numbers of channels, of the keypoint subnet and of the person subnet.
CHANNELS = ("keypoint_channels", "keypoint_head_channels", "person_channels", "person_head_channels")

# The upper limits keep a damaged file from taking all memory.
_CHANNELS = between(int, 1, 1024)
_SIDE = between(int, 32, 4096)


@dataclasses.dataclass(frozen=True)
class ModelConfig(Settings):
    """The architecture of one model, by default the paper's with ResNet-50; UserError where a value is wrong."""

    backbone: str = option("resnet50", choice(*BACKBONES))
    dilated: bool = option(False, SWITCH)  # ResNet: conv5 has stride 1 and dilation 2, so C5 has stride 16 (Table 2)
    width: float = option(1.0, between(float, 0.01, 4))  # MobileNet: channel multiplier; 1.0 for ResNet
    folded: bool = option(False, SWITCH)  # the backbone's convolutions hold scale and shift of batch normalisation
    keypoint_channels: int = option(256, _CHANNELS)  # depth of K2-K5 (§3.2)
    keypoint_head_channels: int = option(128, _CHANNELS)  # depth of each of D2-D5 (§3.2)
    concat: bool = option(True, SWITCH)  # join D2-D5 before the last layers; False: D2 alone (Table 2, "no concat")
    intermediate_supervision: bool = option(True, SWITCH)  # a loss on each of K2-K5 (Table 2; False is "no int")
    person_channels: int = option(256, _CHANNELS)  # depth of P3-P7 (§3.3)
    person_head_channels: int = option(256, _CHANNELS)  # depth of the four convolutions of each RetinaNet head
    prn_nodes: int = option(1024, between(int, 1, 8192))  # nodes of a hidden layer (Table 3: 512 or 1024)
    prn_layers: int = option(1, between(int, 1, 8))  # hidden layers (Table 3: 1 or 2)
    prn_dropout: float = option(0.5, share_below_1)  # rate after each hidden layer (§4.2)
    prn_residual: bool = option(True, SWITCH)  # True for Eq. 1, False for Eq. 3
    prn_margin: float = option(0.21, between(float, 0, 10))  # boxes grow by this share on each side; authors' code
    prn_pool: int = option(1, choice(1, 2, 4))  # hidden layers see 1/pool of the rows and columns, see `build_prn`
    prn_residual_gain: bool = option(False, SWITCH)  # the PRN multiplies the input that it adds by a learned factor
    prn_window: int = option(15, odd)  # side in cells of the window summed around a peak, as in the authors' code
    prn_assignment: str = option("greedy", choice(*PRN_ASSIGNMENTS))  # best pair of box and peak first, or best sum
    # Most pixels of the shorter and the longest side; a refiner's crops are square.
    image_size: tuple = option((480, 800), several(_SIDE, _SIDE, rising=True))
    # Refiners only (§4.2): longer side of a person's box by side of the crop; and largest factor of enlargement.
    refiner_share: float | None = option(None, positive_share)
    refiner_enlargement: float = option(4.0, between(float, 0.01, 100))

    def __post_init__(self):
        try:
            super().__post_init__()
        except SettingsError as error:
            raise UserError(str(error)) from None  # a command line has no options of these names

    def check(self):
        resnet = self.backbone.startswith("resnet")
        shorter, longest = self.image_size
        for refused, sentence in (
            (self.dilated and not resnet, f"dilated needs a ResNet backbone, not {self.backbone}"),
            (self.width != 1 and resnet, f"width must be 1 for a ResNet backbone, not {self.width}"),
            (self.prn_residual_gain and not self.prn_residual, "prn_residual_gain needs prn_residual"),
            (
                self.refiner_share and (shorter != longest or shorter % 32),
                f"a refinement network's image_size must be a square of a multiple of 32, not {self.image_size}",
            ),
        ):
            if refused:
                raise UserError(sentence)

    def replace(self, **changes):
        """Copies the configuration with some fields changed, and checks it."""
        return dataclasses.replace(self, **changes)

    def section(self, part):
        """The fields on which the weights of a part depend: "keypoints", "person" or "prn"."""
        prefixes = {
            "keypoints": ("backbone", "dilated", "width", "folded", "keypoint", "concat", "intermediate"),
            "person": ("backbone", "dilated", "width", "folded", "person"),
            "prn": ("prn_nodes", "prn_layers", "prn_residual", "prn_margin", "prn_pool"),
        }[part]
        return {name: value for name, value in dataclasses.asdict(self).items() if name.startswith(prefixes)}


def named_backbone(name):
    """The fields `backbone` and `dilated` of a ModelConfig for one of BACKBONE_NAMES, as a dict."""
    backbone, _, dilated = name.partition("-")
    return {"backbone": backbone, "dilated": bool(dilated)}


def read_config(path):
    """Reads the ModelConfig in a config.json; UserError if it is missing or wrong."""
    fields = read_json(path, "a model configuration")
    if not isinstance(fields, dict):
        raise UserError(f"{path} is not a model configuration: it has no fields")
    if unknown := sorted(set(fields) - {field.name for field in dataclasses.fields(ModelConfig)}):
        raise UserError(f"{path} has fields this version does not know: {reprlib.repr(unknown)}")
    try:
        return ModelConfig(**fields)
    except UserError as error:
        raise UserError(f"{path} is not a model configuration: {error}") from error
