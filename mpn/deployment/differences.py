"""Measures how far the people that an export finds are from those that its model finds.

`python -m mpn.deployment.differences MODEL EXPORT FOLDER` compares both in float32, on photographs of a folder.
"""

import dataclasses

import numpy as np
from tqdm import tqdm

from mpn.cli.script import import_tensorflow, run
from mpn.cli.settings import module_parser
from mpn.deployment.calibration import photographs
from mpn.images import read_image
from mpn.inference.export_folder import is_export
from mpn.kinds import positive_int

# Keypoints of less confidence are often guesses, which may jump.
_SURE = 0.3


@dataclasses.dataclass
class Differences:
    """Between the people of a model and those of its export, in image pixels."""

    photographs: int = 0
    other_counts: int = 0  # photographs in which they find another number of people; what follows leaves these out
    keypoints: int = 0  # with a confidence above _SURE
    keypoint: float = 0.0  # the farthest of these
    box_side: float = 0.0  # the farthest
    score: float = 0.0  # the largest difference of a confidence, or of a score of a box or a pose

    def add(self, found, expected):
        """Compares two lists of Person from one photograph; people are paired by their boxes."""
        self.photographs += 1
        if len(found) != len(expected):
            self.other_counts += 1
            return
        remaining = list(found)
        for other in expected:
            one = min(remaining, key=lambda person: np.abs(person.box - other.box).max())
            remaining = [person for person in remaining if person is not one]
            sure = other.keypoints[:, 2] > _SURE
            distances = np.linalg.norm(one.keypoints[sure, :2] - other.keypoints[sure, :2], axis=1)
            scores = np.append(one.keypoints[:, 2], [one.score, one.box_score])
            others = np.append(other.keypoints[:, 2], [other.score, other.box_score])
            self.keypoints += int(sure.sum())
            self.keypoint = max(self.keypoint, float(distances.max(initial=0)))
            self.box_side = max(self.box_side, float(np.abs(one.box - other.box).max()))
            self.score = max(self.score, float(np.abs(scores - others).max()))


def differences(model, export, paths):
    """Differences on photographs, given by their paths.

    `model` is a model directory or the name of a shipped model, `export` the folder of an export or of another model.
    Where an export has a fixed image size, the model gets the same input. Raises UserError where either, or a
    photograph, cannot be read.
    """
    from mpn.inference.multiposenet import MultiPoseNet

    model, exported = (MultiPoseNet.load(folder, precision="float32") for folder in (model, export))
    if is_export(export) and exported.note.size:
        model.prepare = exported.prepare
    total = Differences()
    for path in tqdm(paths, desc="photographs", unit="image"):
        image = read_image(path)
        total.add(exported.predict(image), model.predict(image))
    return total


def main(argv=None):
    parser = module_parser(__spec__, __doc__)
    parser.add_argument("model", metavar="MODEL", help="model directory, or the name of a model of the package")
    parser.add_argument("export", metavar="EXPORT", help="folder of its export, or of another model")
    parser.add_argument("photographs", metavar="FOLDER", help="folder with photographs")
    parser.add_argument("--images", type=positive_int, default=20, help="take the first; default: 20")
    options = parser.parse_args(argv)
    paths = photographs(options.photographs)[: options.images]
    import_tensorflow()
    found = differences(options.model, options.export, paths)
    print(f"{found.photographs} photographs, {found.other_counts} of them with another number of people")
    print(f"{found.keypoints} keypoints, the farthest {found.keypoint:.4f} pixels away")
    print(f"farthest side of a box {found.box_side:.4f} pixels, largest difference of a score {found.score:.6f}")


if __name__ == "__main__":
    run(main)
