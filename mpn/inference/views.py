"""The views of test-time augmentation (§4.2: "Multi scale and multi crop testing")."""

import dataclasses

import numpy as np

from mpn import kinds
from mpn.lazy import LazyModule
from mpn.settings import Settings, SettingsError, option

# These import OpenCV, which `demo.py --help` should not wait for.
geometry, heatmaps = LazyModule("mpn.geometry"), LazyModule("mpn.heatmaps")

# A box nearer to a crop's edge than this share of the crop's side may belong to a person whom the edge cuts; another
# view shows all of that person.
_EDGE = 0.02

# Larger scales are typing errors: one image would take minutes and gigabytes.
_LARGEST_SCALE = 8


@dataclasses.dataclass(frozen=True)
class Augmentation(Settings):
    """Test-time augmentation: the views of an image that the network sees."""

    scales: tuple = option(
        (1.0,),
        kinds.LIST,
        "see each image at these scales of the image size, such as 0.5,1,1.5,2, and average; with more than one, "
        "--refine also sees each person from nearer",
        metavar="S,S,...",
    )
    mirror: bool = option(False, kinds.SWITCH, "see each image, or person with --refine, mirrored too, and average")
    # The crops overlap by half, and each is scaled to the image size: people appear (N + 1) / 2 times as large.
    crops: int = option(1, kinds.positive_int, "see N x N crops of each image too, from 2 up", metavar="N")

    def check(self):
        if max(self.scales) > _LARGEST_SCALE or len(set(self.scales)) < len(self.scales):
            raise SettingsError(f"{{scales}} must be up to {_LARGEST_SCALE} and differ, not {self.scales}")

    @property
    def is_single(self):
        """Whether the whole image, unchanged, is the only view."""
        return self == Augmentation()

    def views(self, image, prepare):
        """The views of an (H, W, 3) uint8 image: list of pairs, a View and its inputs from `MultiPoseNet.prepare`."""
        height, width = image.shape[:2]
        whole = (0, 0, width, height)
        parts = [(whole, scale, None) for scale in self.scales]
        if self.crops > 1:
            steps = range(self.crops)
            parts += [(_tile(c, r, self.crops, width, height), 1.0, (c, r)) for r in steps for c in steps]
        # All crops together count as much as one view of the whole image.
        shares = (1 + self.mirror) * (len(self.scales) + (self.crops > 1))
        views = []
        for part, factor, tile in parts:
            left, top, right, bottom = part
            for mirrored in (False, True)[: 1 + self.mirror]:
                inputs, scale = prepare(image[top:bottom, left:right], factor, mirrored)
                view = View(part, (width, height), tuple(scale), mirrored, 1 / shares, tile, self.crops)
                views.append((view, inputs))
        return views


@dataclasses.dataclass(frozen=True)
class View:
    """A scaled and perhaps mirrored part of an image.

    Its input shows the image's x at (x - left) scale, or mirrored at (right - x) scale: the part is mirrored before
    padding on the right. Axis 0 is x, axis 1 is y.
    """

    part: tuple  # (left, top, right, bottom) in image pixels
    image_size: tuple  # (width, height) of the image in pixels
    scale: tuple  # input pixels per image pixel along x and y
    mirrored: bool = False
    share: float = 1.0  # largest weight of its heatmaps in the average
    tile: tuple | None = None  # (column, row) of a crop; None for the whole image
    tiles: int = 1  # crops along each axis

    def cells(self, axis, places):
        """Converts (n,) image coordinates along an axis to cells of the view's heatmap."""
        if self.mirrored and axis == 0:
            return (self.part[2] - places) * self.scale[0] / heatmaps.STRIDE
        return (places - self.part[axis]) * self.scale[axis] / heatmaps.STRIDE

    def weights(self, axis, places):
        """(n,) weights of the view at (n,) image coordinates along an axis; those of all crops sum to 1.

        A crop's weight falls linearly to 0 at its edges inside the image, since it does not show people beyond them.
        """
        if self.tile is None:
            return np.ones(len(places))
        offsets = np.asarray(places) / self.image_size[axis] * (self.tiles + 1) - self.tile[axis]
        rising = 1.0 if self.tile[axis] == 0 else offsets
        falling = 1.0 if self.tile[axis] == self.tiles - 1 else 2 - offsets
        return np.minimum(rising, falling).clip(0, 1)

    def boxes_in_image(self, boxes):
        """Brings (N, 4) boxes from input to image pixels.

        Returns them as float32 [x1, y1, x2, y2], and (N,) bool, False for a box that an edge of the crop may cut.
        """
        corner, size = np.array(self.part[:2] * 2), np.subtract(self.part[2:], self.part[:2])
        boxes = boxes / np.tile(self.scale, 2)
        if self.mirrored:
            boxes = geometry.mirror_boxes(boxes, size[0])
        boxes = boxes + corner
        inside = np.array(self.part) != (0, 0, *self.image_size)
        near = np.abs(boxes - self.part) < _EDGE * np.tile(size, 2)
        return boxes.astype(np.float32), ~(near & inside).any(axis=1)


def _tile(column, row, count, width, height):
    """One of count x count crops that overlap by half: (left, top, right, bottom) in image pixels, int."""
    sides = []
    for index, side in ((column, width), (row, height)):
        start = min(side * index // (count + 1), side - 1)
        sides.append((start, max(start + 1, -(-side * (index + 2) // (count + 1)))))
    (left, right), (top, bottom) = sides
    return left, top, right, bottom
