"""Times models and exports against each other.

`python -m mpn.deployment.speed PHOTO MODEL EXPORT ...` prints the time of the network and of the whole image, and their
ratios to those of the first. They take turns, so that other programs slow all of them alike.
"""

import functools

from mpn.cli.script import import_tensorflow, run
from mpn.cli.settings import module_parser
from mpn.evaluation.runtime import crowd, device, medians
from mpn.evaluation.tables import markdown
from mpn.files import read_bytes
from mpn.images import decode_image
from mpn.inference.exported_model import ExportedModel
from mpn.kinds import positive_int


def speed(models, data, people=1, repeats=20):
    """Median seconds of the network and of the whole image: a dict of name to a pair.

    `models` maps names to MultiPoseNets and ExportedModels; `data` holds the bytes of an image file. The whole image is
    the file's decoding, `detect`, and `group` for as many made-up `people`.
    """
    image = decode_image(data, "image")
    stages = {}
    for name, model in models.items():
        inputs, _ = model.prepare(image)
        if isinstance(model, ExportedModel):
            stages[name, "network"] = functools.partial(model._engine.run, "network", images=inputs[0])
        else:
            stages[name, "network"] = functools.partial(model.forward_graph, *inputs)
        detections = crowd(people, image.shape[:2], model.detect(image).peaks.shape[1])
        stages[name, "whole"] = functools.partial(_whole, model, data, detections)
    times = medians(stages, repeats)
    return {name: (times[name, "network"], times[name, "whole"]) for name in models}


def _whole(model, data, detections):
    model.detect(decode_image(data, "image"))
    model.group(detections)


def main(argv=None):
    parser = module_parser(__spec__, __doc__)
    parser.add_argument("image", metavar="PHOTO", help="photograph")
    parser.add_argument("models", metavar="MODEL", nargs="+", help="model directory, name of a model, or an export")
    parser.add_argument("--people", type=positive_int, default=1, help="in the whole image; default: 1")
    parser.add_argument("--repeats", type=positive_int, default=20, help="the median of these counts; default: 20")
    options = parser.parse_args(argv)
    data = read_bytes(options.image, "image")
    import_tensorflow()
    from mpn.inference.multiposenet import MultiPoseNet

    models = {name: MultiPoseNet.load(name, precision="float32") for name in options.models}
    times = speed(models, data, options.people, options.repeats)
    first = times[options.models[0]]
    rows = [
        [name, f"{1e3 * network:.1f}", f"{network / first[0]:.2f}", f"{1 / whole:.1f}", f"{whole / first[1]:.2f}"]
        for name, (network, whole) in times.items()
    ]
    print(f"In float32 or int8, on {device()}, people in the image: {options.people}\n")
    print(markdown(["model", "network, ms", "ratio", "whole image, a second", "ratio of times"], rows))


if __name__ == "__main__":
    run(main)
