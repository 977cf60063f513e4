"""Person segmentation on PASCAL VOC 2012 (§4.4, Table 5 right): `python -m mpn.evaluation.voc VOC2012 --model DIR`.

The measure is VOCevalseg's for the class person: the IoU over the pixels of all images together, without those that
the annotation leaves open. Other classes are background.
"""

import argparse
import pathlib
import tarfile

import numpy as np
from tqdm import tqdm

from mpn.cli.script import import_tensorflow, run
from mpn.cli.settings import add_options
from mpn.data.voc import PERSON, SPLITS, VOID, load_voc, read_classes, write_person_mask
from mpn.evaluation.segmentation import pixel_counts
from mpn.files import atomic_path, make_replaceable, make_writable, write_json
from mpn.images import read_image
from mpn.settings import ImageSize, Views, positive_int, share

# VOC's segmentation competition for methods trained on other data than VOC's own: here on COCO's.
COMPETITION = "comp6"


def evaluate_voc(model, images, folder, threshold=0.5):
    """Writes the masks of people that a MultiPoseNet finds, and measures them where the true ones are known.

    `images` are VocImages, and `folder` is a pathlib.Path that exists. Stage 1 of the model is enough. Returns
    `person_metrics`, or {"images": int} without true masks. Raises UserError for a damaged image or mask.
    """
    counts = []
    for image in tqdm(images, desc="VOC2012", unit="image"):
        pixels = read_image(image.image)
        classes = None if image.mask is None else read_classes(image.mask, pixels.shape[:2])
        _, silhouettes = model.predict(pixels, with_silhouettes=True)
        people = silhouettes.mask(threshold=threshold)
        write_person_mask(folder / f"{image.name}.png", people)
        if classes is not None:
            counts.append(pixel_counts(classes == PERSON, classes == VOID, people))
    return person_metrics(counts) if counts else {"images": len(images)}


def person_metrics(counts):
    """VOC's accuracy of the class person, from a list of `pixel_counts`.

    Returns "person_IoU", a float in 0-1 or -1 where nobody is annotated or found, and ints: "images", and over all of
    them the pixels of "true_positives", "false_positives" and "false_negatives".
    """
    shared, union, people = (int(count) for count in np.array(counts, np.int64).reshape(-1, 3).sum(axis=0))
    return {
        "person_IoU": shared / union if union else -1.0,
        "images": len(counts),
        "true_positives": shared,
        "false_positives": union - people,
        "false_negatives": people - shared,
    }


def pack(output, folder, images):
    """Packs the masks of VocImages for the evaluation server, atomically; names start from `output`."""
    archive = pathlib.Path(output) / f"{folder.name}.tar.gz"
    with atomic_path(archive) as temporary, tarfile.open(temporary, "w:gz") as file:
        for image in images:
            mask = folder / f"{image.name}.png"
            file.add(mask, mask.relative_to(output).as_posix())
    return archive


def main(argv=None):
    import_tensorflow()
    from mpn.inference.multiposenet import MultiPoseNet
    from mpn.inference.views import Augmentation
    from mpn.precision import INFERENCE_PRECISIONS

    parser = argparse.ArgumentParser(
        prog="python -m mpn.evaluation.voc",
        description="Measures person segmentation on PASCAL VOC 2012, or writes the masks that its server takes.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("voc", metavar="VOC2012", help="the folder of that name, as PASCAL VOC comes")
    parser.add_argument("--split", choices=SPLITS, default="val", help="test has no masks: its own are packed")
    parser.add_argument("--model", metavar="DIR", default="models/multiposenet", help="model directory")
    parser.add_argument("--limit", type=positive_int, metavar="N", help="first N images only")
    parser.add_argument(
        "--image-size", action=ImageSize, metavar="SIDE", help="SHORTER [LONGEST] side of images; default: the model's"
    )
    parser.add_argument("--precision", choices=INFERENCE_PRECISIONS, default="auto", help="auto: half where it is fast")
    add_options(parser, Views)
    parser.add_argument("--square", action="store_true", help="pad images to squares, as stage 1 does; slower")
    parser.add_argument(
        "--silhouette-threshold", type=share, default=0.5, help="above which the silhouette channel says person"
    )
    parser.add_argument("--output", metavar="DIR", default="results", help="folder of the masks")
    parser.add_argument("--metrics", metavar="FILE.json", help="write every figure, in 0-1")
    options = parser.parse_args(argv)
    images = load_voc(options.voc, options.split, options.limit)
    folder = pathlib.Path(options.output, "results", "VOC2012", "Segmentation", f"{COMPETITION}_{options.split}_cls")
    make_writable(folder)  # before hours of predictions, not after
    if options.metrics:
        make_replaceable(options.metrics)
    settings = {name: getattr(options, name) for name in ("image_size", "precision", "square")}
    views = {name: getattr(options, name) for name in ("scales", "mirror", "crops")}
    # Only silhouettes count: the boxes of an untrained person subnet do no harm, and "max" needs no PRN.
    augmentation = Augmentation(**views)
    model = MultiPoseNet.load(
        options.model, parts=("keypoints",), grouping="max", augmentation=augmentation, **settings
    )
    metrics = evaluate_voc(model, images, folder, options.silhouette_threshold)
    if options.metrics:
        settings |= {"image_size": list(model.config.image_size), "precision": model.precision, **views}
        settings |= {name: getattr(options, name) for name in ("voc", "split", "model", "silhouette_threshold")}
        write_json(options.metrics, {"voc": metrics, "settings": settings}, indent=2)
    print(f"{len(images)} masks in {folder}")
    if "person_IoU" in metrics:
        print(f"person IoU {metrics['person_IoU']:.4f} on {len(images)} images of VOC2012 {options.split}")
    else:
        archive = pack(options.output, folder, images)
        print(f"{archive} is what VOC's evaluation server takes, which alone knows the masks of test")


if __name__ == "__main__":
    run(main)
