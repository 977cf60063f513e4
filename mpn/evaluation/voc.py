"""Measures person segmentation on PASCAL VOC 2012 (§4.4, Table 5 right), or writes the masks that its server takes.

`python -m mpn.evaluation.voc VOC2012 --model DIR`. The measure is VOCevalseg's for the class person: the IoU over the
pixels of all images together, without those that the annotation leaves open. Other classes are background.
"""

import pathlib
import tarfile

from tqdm import tqdm

from mpn.cli.script import import_tensorflow, run
from mpn.cli.settings import add_options, module_parser
from mpn.data.voc import PERSON, SPLITS, VOID, load_voc, read_classes, write_person_mask
from mpn.evaluation.segmentation import pixel_counts, silhouette_metrics
from mpn.files import atomic_path, make_replaceable, make_writable, write_json
from mpn.images import read_image

# VOC's segmentation competition for methods trained on other data than VOC's own: here on COCO's.
COMPETITION = "comp6"


def evaluate_voc(model, images, folder, threshold=0.5):
    """Writes the masks of people that a MultiPoseNet finds, and measures them where the true ones are known.

    `images` are VocImages, and `folder` is a pathlib.Path that exists. Stage 1 of the model is enough. Returns
    {"images": int, "person_IoU": float}, without the second if there are no true masks; it is in 0-1, or -1 where
    nobody is annotated or found. Raises UserError for a damaged image or mask.
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
    return {"images": len(images)} | ({"person_IoU": silhouette_metrics(counts)["IoU"]} if counts else {})


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
    from mpn.evaluation.evaluation import Evaluation
    from mpn.inference.multiposenet import MultiPoseNet
    from mpn.inference.views import Augmentation

    parser = module_parser(__spec__, __doc__)
    parser.add_argument("voc", metavar="VOC2012", help="the folder of that name, as PASCAL VOC comes")
    parser.add_argument("--split", choices=SPLITS, default="val", help="default: val; masks found on test are packed")
    parser.add_argument("--model", metavar="DIR", default="models/multiposenet", help="default: models/multiposenet")
    of_model, views = ("image_size", "precision", "square"), ("scales", "mirror", "crops")
    add_options(parser, Evaluation, *of_model, *views, "silhouette_threshold", "limit", "output", "metrics")
    options = parser.parse_args(argv)
    images = load_voc(options.voc, options.split, options.limit)
    folder = pathlib.Path(options.output, "results", "VOC2012", "Segmentation", f"{COMPETITION}_{options.split}_cls")
    make_writable(folder)  # before hours of predictions, not after
    if options.metrics:
        make_replaceable(options.metrics)
    settings = {name: getattr(options, name) for name in of_model}
    settings["augmentation"] = Augmentation(*(getattr(options, name) for name in views))
    # Only silhouettes count: the boxes of an untrained person subnet do no harm, and "max" needs no PRN.
    model = MultiPoseNet.load(options.model, parts=("keypoints",), grouping="max", **settings)
    metrics = evaluate_voc(model, images, folder, options.silhouette_threshold)
    if options.metrics:
        seen = {"image_size": list(model.config.image_size), "precision": model.precision}
        write_json(options.metrics, {"voc": metrics, "settings": vars(options) | seen}, indent=2)
    print(f"{len(images)} masks in {folder}")
    if "person_IoU" in metrics:
        print(f"person IoU {metrics['person_IoU']:.4f} on {len(images)} images of VOC2012 {options.split}")
    else:
        archive = pack(options.output, folder, images)
        print(f"{archive} is what VOC's evaluation server takes, which alone knows the masks of test")


if __name__ == "__main__":
    run(main)
