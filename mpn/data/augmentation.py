"""Settings of the random changes to the training patches of stage 1 (§3.5)."""

import dataclasses

from mpn import kinds
from mpn.settings import Settings, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class PatchAugmentation(Settings):
    """How patches are cut; the defaults are the paper's.

    A patch shows one person in its middle, whose box has 0.6 of its side, or the whole image at its top left.
    """

    framing: str = option("person", kinds.choice("person", "image"), "a patch shows one person, or the whole image")
    refiner_share: float | None = option(
        None,
        kinds.positive_share,
        "train a refinement network (§4.2) instead, for --refine of evaluate.py and demo.py: it sees a crop of one "
        "person, whose box has this share of the crop's side",
        flag="--refiner",
        metavar="SHARE",
    )
    rotation: float = option(40.0, kinds.degrees, "largest rotation either way, in degrees")
    scale: tuple = option(
        (0.8, 1.2),
        kinds.several(kinds.positive_float, kinds.positive_float, rising=True),
        "smallest and largest factor on the scale",
        metavar=("LEAST", "MOST"),
    )
    shift: float = option(0.0, kinds.share, "largest move along x and y, as a share of the patch's side")
    mirror: float = option(0.3, kinds.share, 'probability of mirroring left to right ("vertical flipping", §3.5)')
    colour: float = option(0.0, kinds.share, "strength of random contrast, brightness, saturation and hue")

    def without_jitter(self):
        """Returns the same framing without random changes, for validation."""
        framing = {"framing": self.framing, "refiner_share": self.refiner_share}
        return PatchAugmentation(rotation=0, scale=(1, 1), mirror=0, **framing)
