"""Person segmentation on PASCAL VOC 2012 (§4.4, Table 5 right): what `evaluate.py --voc` does.

The figure is that of the development kit's VOCevalseg for the class person: of the pixels of all images together, those
found rightly over those found or annotated, where the annotation leaves none open. Things of other classes are
background.
"""

import pathlib
import tarfile

import numpy as np
from tqdm import tqdm

from mpn.data.voc import PERSON, VOID, load_voc, read_classes, write_person_mask
from mpn.errors import UserError
from mpn.evaluation.models import load_model, model_settings
from mpn.files import atomic_path, make_replaceable, make_writable, write_json
from mpn.images import read_image

# "comp6" is VOC's competition for segmentation with training data other than VOC's own: here COCO's.
COMPETITION = "comp6"

# Options of `evaluate.py` that say something about COCO's images, people or poses, and their defaults.
_OTHERS = {
    "annotations": None,
    "split": "val",
    "held_out": None,
    "keypoints": "network",
    "boxes": "network",
    "grouping": "prn",
    "oks_threshold": None,
    "refine": None,
    "curves": None,
    "errors": None,
}

# Settings of a model that say how boxes and peaks become people, which silhouettes do not depend on.
_NOT_SILHOUETTES = ("nms_threshold", "window", "assignment", "oks_threshold", "refine")


def evaluate_voc(options):
    """What `evaluate.py --voc` does: measures silhouettes on val, writes the masks of val or test.

    Masks go to OUTPUT/results/VOC2012/Segmentation/comp6_SPLIT_cls/, and those of test also into a .tar.gz that the
    evaluation server takes. Stage 1 alone has to be trained. The paper's "multi-scale testing" is --scales.

    Args:
        options: namespace of `evaluate.py`.

    Raises:
        UserError: what a user can put right, such as a mask that is missing.
    """
    _check(options)
    images = load_voc(options.voc, options.voc_split, options.limit)
    folder = masks_folder(options.output, options.voc_split)
    make_writable(folder)  # before hours of predictions, not after
    if options.metrics:
        make_replaceable(options.metrics)
    # Silhouettes come from stage 1. The boxes of an untrained person subnet are not looked at, and "max" groups them
    # without a PRN.
    model = load_model(options, ("keypoints",), grouping="max")
    counts = []
    for image in tqdm(images, desc=f"VOC2012 {options.voc_split}", unit="image"):
        pixels = read_image(image.image)
        classes = None if image.mask is None else read_classes(image.mask, pixels.shape[:2])
        _, silhouettes = model.predict(pixels, with_silhouettes=True)
        people = silhouettes.mask(threshold=options.silhouette_threshold)
        write_person_mask(folder / f"{image.name}.png", people)
        if classes is not None:
            counts.append(count_person_pixels(classes, people))
    metrics = {
        "voc": person_metrics(counts) if counts else {"images": len(images)},
        "settings": {
            "voc": str(options.voc),
            "split": options.voc_split,
            **{name: value for name, value in model_settings(model, options).items() if name not in _NOT_SILHOUETTES},
            "silhouette_threshold": options.silhouette_threshold,
        },
    }
    if options.metrics:
        write_json(options.metrics, metrics, indent=2)
    print(f"{len(images)} masks in {folder}")
    if counts:
        print(f"person IoU {metrics['voc']['person_IoU']:.4f} on {len(images)} images of VOC2012 {options.voc_split}")
    else:
        archive = pack(options.output, folder, images)
        print(f"{archive} is what VOC's evaluation server takes, which alone knows the masks of test")


def count_person_pixels(classes, found):
    """The pixels of one image that its IoU is made of, without those that the annotation leaves open.

    Args:
        classes: (H, W) uint8, see `read_classes`.
        found: (H, W) bool, where a person was found.

    Returns:
        ints: true positives, false positives and false negatives of the class person.

    Raises:
        ValueError: the two have different shapes.
    """
    if classes.shape != found.shape:
        raise ValueError(f"the mask is {found.shape} and the annotation {classes.shape}")
    people, decided = classes == PERSON, classes != VOID
    masks = people & found, ~people & found & decided, people & ~found
    return tuple(int(np.count_nonzero(mask)) for mask in masks)


def person_metrics(counts):
    """VOC's accuracy of the class person.

    Args:
        counts: list of what `count_person_pixels` gives, one an image.

    Returns:
        dict: "person_IoU" float in 0-1, or -1 where there is neither a person nor a pixel found; "images" int; and
        "true_positives", "false_positives", "false_negatives", ints, the pixels of all images together.
    """
    right, wrong, missed = (int(count) for count in np.array(counts, np.int64).reshape(-1, 3).sum(axis=0))
    union = right + wrong + missed
    return {
        "person_IoU": right / union if union else -1.0,
        "images": len(counts),
        "true_positives": right,
        "false_positives": wrong,
        "false_negatives": missed,
    }


def masks_folder(output, split):
    """Where the masks of a split belong under `output`, as the development kit and the server expect it."""
    return pathlib.Path(output) / "results" / "VOC2012" / "Segmentation" / f"{COMPETITION}_{split}_cls"


def pack(output, folder, images):
    """Packs masks for the evaluation server, atomically.

    Args:
        output: folder that the names inside the archive start from.
        folder: see `masks_folder`.
        images: list of VocImage; masks of others, which an earlier run may have left in `folder`, stay out.

    Returns:
        pathlib.Path of the .tar.gz, in `output`.

    Raises:
        OSError: it cannot be written.
    """
    archive = pathlib.Path(output) / f"{folder.name}.tar.gz"
    with atomic_path(archive) as temporary, tarfile.open(temporary, "w:gz") as file:
        for image in images:
            mask = folder / f"{image.name}.png"
            file.add(mask, mask.relative_to(output).as_posix())
    return archive


def _check(options):
    others = [name for name, default in _OTHERS.items() if getattr(options, name) != default]
    if others:
        flag = "--" + others[0].replace("_", "-")
        raise UserError(f"--voc measures the silhouettes of VOC2012 alone: leave out {flag}")
