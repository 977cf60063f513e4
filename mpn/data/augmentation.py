"""Settings of the random changes to the training patches of stage 1 (§3.5)."""

import dataclasses

from mpn.settings import Settings, choice, degrees, option, positive_float, positive_share, several, share


@dataclasses.dataclass(frozen=True, kw_only=True)
class PatchAugmentation(Settings):
    """How patches are cut; the defaults are the paper's.

    A patch shows one person in its middle, whose box has 0.6 of its side, or the whole image at its top left, as in
    inference.
    """

    framing: str = option("person", choice("person", "image"), "what a patch shows: one person, or the whole image")
    refiner_share: float | None = option(
        None,
        positive_share,
        "train a refinement network (§4.2) instead, for --refine of evaluate.py and demo.py: it sees a crop of one "
        "person, whose box has this share of the crop's side",
        flag="--refiner",
        metavar="SHARE",
    )
    rotation: float = option(40.0, degrees, "largest rotation either way, in degrees")
    scale: tuple = option(
        (0.8, 1.2),
        several(positive_float, positive_float, rising=True),
        "smallest and largest factor on the scale",
        metavar=("LEAST", "MOST"),
    )
    shift: float = option(0.0, share, "largest move along x and y, as a share of the patch's side")
    mirror: float = option(0.3, share, 'probability of mirroring left to right (the paper\'s "vertical flipping")')
    colour: float = option(0.0, share, "strength of random contrast, brightness, saturation and hue")

    def without_jitter(self):
        """Returns the same framing without random changes, for validation."""
        return PatchAugmentation(
            framing=self.framing, refiner_share=self.refiner_share, rotation=0, scale=(1, 1), mirror=0
        )
