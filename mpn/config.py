"""The architecture of a model: a frozen dataclass, which `mpn.model_directory` stores as config.json."""

import dataclasses
import numbers
import reprlib
import types

from mpn.errors import UserError
from mpn.files import read_json

BACKBONES = ("resnet50", "resnet101", "mobilenet_v2")
PRN_ASSIGNMENTS = ("greedy", "optimal")

# Least and greatest value. The upper limits keep a damaged file from taking all memory.
RANGES = {
    "width": (0.01, 4),
    "keypoint_channels": (1, 1024),
    "keypoint_head_channels": (1, 1024),
    "person_channels": (1, 1024),
    "person_head_channels": (1, 1024),
    "prn_nodes": (1, 8192),
    "prn_layers": (1, 8),
    "prn_margin": (0, 10),
    "prn_window": (1, 999),
    "refiner_enlargement": (0.01, 100),
}
IMAGE_SIDES = (32, 4096)

_NAMES = {
    bool: "true or false",
    float: "a number",
    float | None: "a number or null",
    int: "a whole number",
    str: "a text",
    tuple: "a list of whole numbers",
}


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The architecture of one model, by default the paper's with ResNet-50; UserError where a value is wrong."""

    backbone: str = "resnet50"  # one of BACKBONES
    dilated: bool = False  # ResNet: conv5 has stride 1 and dilation 2, so C5 has stride 16 (Table 2, "dil")
    width: float = 1.0  # MobileNet: channel multiplier; 1.0 for ResNet
    folded: bool = False  # the backbone's convolutions hold the scale and shift of batch normalisation
    keypoint_channels: int = 256  # depth of K2-K5 (§3.2)
    keypoint_head_channels: int = 128  # depth of each of D2-D5 (§3.2)
    concat: bool = True  # join D2-D5 before the last layers; False uses D2 alone (Table 2, "no concat")
    intermediate_supervision: bool = True  # a loss on each of K2-K5 (Table 2; False is "no int")
    person_channels: int = 256  # depth of P3-P7 (§3.3)
    person_head_channels: int = 256  # depth of the four convolutions of each RetinaNet head
    prn_nodes: int = 1024  # nodes of a hidden layer (Table 3: 512 or 1024)
    prn_layers: int = 1  # hidden layers (Table 3: 1 or 2)
    prn_dropout: float = 0.5  # rate after each hidden layer (§4.2)
    prn_residual: bool = True  # True for Eq. 1, False for Eq. 3
    prn_margin: float = 0.21  # boxes grow by this share of their size on each side, as in the authors' code
    prn_pool: int = 1  # 1, 2 or 4; hidden layers see 1/pool of the rows and columns, see `build_prn`
    prn_residual_gain: bool = False  # the PRN multiplies its input by a learned factor before adding it
    prn_window: int = 15  # odd side in cells of the window summed around a peak, as in the authors' code
    prn_assignment: str = "greedy"  # best pair of box and peak first; "optimal": best sum of scores
    image_size: tuple = (480, 800)  # most pixels of the shorter and the longest side; a refiner's crops are square
    refiner_share: float | None = None  # refiners only (§4.2): longer side of a person's box by side of the crop
    refiner_enlargement: float = 4.0  # refiners only: largest factor by which crops enlarge the image

    def __post_init__(self):
        for field in dataclasses.fields(self):
            if not _is_of(getattr(self, field.name), field.type):
                self._refuse(f"{field.name} must be {_NAMES[field.type]}", field.name)
        for name, (least, most) in RANGES.items():
            if not least <= getattr(self, name) <= most:
                self._refuse(f"{name} must be from {least} to {most}", name)
        object.__setattr__(self, "image_size", tuple(int(v) for v in self.image_size))
        least, most = IMAGE_SIDES
        resnet = self.backbone.startswith("resnet")
        checks = {
            f"backbone must be one of {', '.join(BACKBONES)}": self.backbone in BACKBONES,
            "dilated needs a ResNet backbone": resnet or not self.dilated,
            "width must be 1 for a ResNet backbone": self.width == 1 or not resnet,
            "prn_dropout must be in [0, 1)": 0 <= self.prn_dropout < 1,
            "prn_residual_gain needs prn_residual": self.prn_residual or not self.prn_residual_gain,
            "prn_pool must be 1, 2 or 4": self.prn_pool in (1, 2, 4),
            "prn_window must be an odd number": self.prn_window % 2 == 1,
            f"prn_assignment must be one of {', '.join(PRN_ASSIGNMENTS)}": self.prn_assignment in PRN_ASSIGNMENTS,
            f"image_size must be a shorter and a longer side of {least} to {most} pixels": len(self.image_size) == 2
            and least <= self.image_size[0] <= self.image_size[1] <= most,
            "refiner_share must be above 0 and up to 1": self.refiner_share is None or 0 < self.refiner_share <= 1,
            "a refinement network's image_size must be a square of a multiple of 32": self.refiner_share is None
            or (self.image_size[0] == self.image_size[1] and self.image_size[0] % 32 == 0),
        }
        for sentence, holds in checks.items():
            if not holds:
                self._refuse(sentence, *(name for name in vars(self) if name in sentence.split()))

    def _refuse(self, sentence, *names):
        raise UserError(f"{sentence}, not {', '.join(f'{name}={reprlib.repr(getattr(self, name))}' for name in names)}")

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


def _is_of(value, kind):
    """Whether a value has a field's type; whole numbers count as floats, booleans do not count as numbers."""
    if isinstance(kind, types.UnionType):
        return any(_is_of(value, one) for one in kind.__args__)
    if kind is tuple:
        return isinstance(value, (list, tuple)) and all(_is_of(v, numbers.Integral) for v in value)
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


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
