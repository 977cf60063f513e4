"""Counts the poses that `demo.py` draws, and those that are right: `python docs/coco-mini/count.py COCO RESULTS`.

`demo.py COCO/val2017 --output RESULTS` comes first. A pose is right if its OKS with a labelled person is .5 or more, as
COCO pairs them.
"""

import argparse
import contextlib
import io
import pathlib

from pycocotools.coco import COCO

from mpn.cli.script import run
from mpn.data.coco import annotation_file
from mpn.evaluation.coco import accumulate
from mpn.files import read_json


def count(coco, results):
    """Numbers of poses drawn, of right ones, and of labelled people, on the images of val2017."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(annotation_file(coco, "val"))
    poses = []
    for identity, image in truth.imgs.items():
        path = pathlib.Path(results) / f"{pathlib.Path(image['file_name']).stem}_poses.json"
        for person in read_json(path, "poses")["people"]:
            # COCO counts from the middle of the first pixel.
            points = [(point["x"] - 0.5, point["y"] - 0.5, point["confidence"]) for point in person["keypoints"]]
            keypoints = [number for point in points for number in point]
            pose = {"image_id": identity, "category_id": 1, "keypoints": keypoints, "score": person["score"]}
            poses.append(pose)
    found = accumulate(truth, poses, truth.getImgIds(), thresholds=[0.5])
    images = [image for image in found.evalImgs if image and image["aRng"] == found.params.areaRng[0]]
    drawn = sum((image["dtIgnore"][0] == 0).sum() for image in images)
    right = sum(((image["dtIgnore"][0] == 0) & (image["dtMatches"][0] > 0)).sum() for image in images)
    return drawn, right, sum((image["gtIgnore"] == 0).sum() for image in images)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition(": `")[0])
    parser.add_argument("coco", metavar="COCO", help="folder in COCO layout")
    parser.add_argument("results", metavar="RESULTS", help="folder with what demo.py has written")
    options = parser.parse_args(argv)
    drawn, right, people = count(options.coco, options.results)
    print(f"{drawn} poses drawn, {right / drawn:.1%} of them right; {right / people:.1%} of {people} people have one")


if __name__ == "__main__":
    run(main)
