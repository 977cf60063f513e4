"""Photographs for post-training quantisation: inputs of the graph "network", always in the same order."""

import pathlib

from tqdm import tqdm

from mpn.errors import UserError
from mpn.geometry import network_input
from mpn.images import IMAGE_SUFFIXES, read_image
from mpn.inference.exported_model import fixed_input

MOST_IMAGES = 300

# The shipped model that finds the people whom a refinement network looks at.
_FINDER = "small"


class Inputs:
    """An iterable of (1, H, W, 3) uint8 arrays that can be read again: `make` of each item, in order."""

    def __init__(self, items, make):
        self._items = items
        self._make = make

    def __len__(self):
        return len(self._items)

    def __iter__(self):
        return map(self._make, self._items)


def photographs(folder):
    """Paths of at most MOST_IMAGES images of a folder, spread evenly over the order of their names.

    Raises UserError where there is none.
    """
    folder = pathlib.Path(folder)
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    if not paths:
        raise UserError(f"'{folder}' is no folder with images: name one with photographs, {MOST_IMAGES} are enough")
    count = min(len(paths), MOST_IMAGES)
    return [paths[index * len(paths) // count] for index in range(count)]


def model_inputs(paths, image_size, size=None):
    """Inputs of a model: whole photographs, scaled to `image_size`, or to the fixed `size` of an export."""
    if size:
        return Inputs(paths, lambda path: fixed_input(read_image(path), size)[0][0])
    return Inputs(paths, lambda path: network_input(read_image(path), image_size)[0])


def refiner_inputs(paths, networks):
    """Inputs of a refinement network: a crop of the best person that the model `small` finds in each photograph.

    Raises UserError where it finds nobody.
    """
    from mpn.inference.multiposenet import MultiPoseNet
    from mpn.inference.refiner import Refiner

    model, refiner = MultiPoseNet.load(_FINDER), Refiner(networks)
    crops = []
    for path in tqdm(paths, desc="people", unit="image"):
        image = read_image(path)
        crops += [refiner.see(image, person.box[None])[0] for person in model.predict(image)[:1]]
    if not crops:
        raise UserError(f"the model {_FINDER} finds nobody in '{paths[0].parent}': name a folder with people")
    return Inputs(crops, lambda crop: crop)
