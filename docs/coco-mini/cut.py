"""Cuts the set coco-mini out of COCO 2017: `python docs/coco-mini/cut.py COCO COCO-MINI`.

The ids of its images are in train2017.txt and val2017.txt beside this file, in the order that decides which of them
training holds out. Its train2017 has images of COCO's train2017 and of COCO's val2017.
"""

import argparse
import pathlib
import shutil

from mpn.cli.script import run
from mpn.errors import UserError
from mpn.files import make_writable, read_json, write_json

SPLITS = ("train2017", "val2017")


def cut(coco, target, lists):
    """Writes images and annotations of some ids in COCO's layout; everything is checked before anything is written.

    Args:
        coco: folder with {train,val}2017/ and annotations/person_keypoints_{train,val}2017.json.
        target: folder to write; made if missing.
        lists: folder of {train,val}2017.txt, one image id a line.

    Returns:
        dict of split to number of images.

    Raises:
        UserError: an image or an annotations file is missing.
    """
    contents = {split: read_json(_annotations(coco, split), "COCO annotations") for split in SPLITS}
    images = {
        image["id"]: (image, coco / split / image["file_name"])
        for split, content in contents.items()
        for image in content["images"]
    }
    wanted = {split: [int(line) for line in (lists / f"{split}.txt").read_text().split()] for split in SPLITS}
    for identity in (identity for ids in wanted.values() for identity in ids):
        if identity not in images:
            raise UserError(f"image {identity} is in no annotations of '{coco}': is it the whole of COCO 2017?")
        if not images[identity][1].exists():
            raise UserError(f"'{images[identity][1]}' is missing: download that split of COCO 2017")
    for split, ids in wanted.items():
        make_writable(target / split)
        make_writable(target / "annotations")
        for identity in ids:
            shutil.copyfile(images[identity][1], target / split / images[identity][1].name)
        chosen, people = set(ids), [person for content in contents.values() for person in content["annotations"]]
        content = {
            **contents[split],
            "images": [images[identity][0] for identity in ids],
            "annotations": [person for person in people if person["image_id"] in chosen],
        }
        write_json(_annotations(target, split), content)
    return {split: len(ids) for split, ids in wanted.items()}


def _annotations(folder, split):
    return folder / "annotations" / f"person_keypoints_{split}.json"


def main(argv=None):
    parser = argparse.ArgumentParser(description="Cuts the set coco-mini out of COCO 2017.")
    parser.add_argument("coco", metavar="COCO", type=pathlib.Path, help="COCO 2017, in COCO's layout")
    parser.add_argument("target", metavar="COCO-MINI", type=pathlib.Path, help="folder to write")
    options = parser.parse_args(argv)
    if options.target.resolve() == options.coco.resolve():
        raise UserError("COCO-MINI must be another folder than COCO")
    counts = cut(options.coco, options.target, pathlib.Path(__file__).parent)
    print(f"{options.target}: {counts['train2017']} images in train2017, {counts['val2017']} in val2017")


if __name__ == "__main__":
    run(main)
