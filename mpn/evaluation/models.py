"""What an evaluation measures: one model, or an ensemble, and how it looks at images (§4.2)."""

from mpn.errors import UserError
from mpn.inference.ensemble import OKS_THRESHOLD, Ensemble
from mpn.inference.multiposenet import MultiPoseNet
from mpn.inference.refiner import refined
from mpn.inference.views import Augmentation
from mpn.model_directory import PARTS


def check_models(options, network):
    """Raises UserError where several models or test-time augmentation make no sense.

    Args:
        options: namespace of `evaluate.py`.
        network: which of keypoints and boxes the network finds: a list of two bools.
    """
    augmentation = Augmentation(options.scales, options.mirror, options.crops)
    if not augmentation.is_single and not any(network):
        raise UserError(
            "--scales, --mirror and --crops are how the network sees an image: --keypoints or --boxes must be network"
        )
    if _is_ensemble(options) and not all(network):
        raise UserError(
            "several --model, or --oks-threshold, need people whom each model finds by itself: --keypoints and --boxes "
            "must be network"
        )
    if options.refine and not all(network):
        raise UserError("--refine improves what the network finds: --keypoints and --boxes must be network")


def load_model(options, parts=PARTS, grouping=None):
    """The MultiPoseNet or Ensemble of the options, Refined where they say so; see `MultiPoseNet.load` for errors.

    Args:
        options: namespace of `evaluate.py`.
        parts: of PARTS.
        grouping: instead of that of the options.
    """
    shared = {
        "image_size": options.image_size,
        "precision": options.precision,
        "grouping": grouping or options.grouping,
        "parts": parts,
        "nms_threshold": options.nms_threshold,
        "square": options.square,
        "window": options.window,
        "assignment": options.assignment,
        "augmentation": Augmentation(options.scales, options.mirror, options.crops),
    }
    if not _is_ensemble(options):
        model = MultiPoseNet.load(options.model[0], **shared)
    else:
        threshold = OKS_THRESHOLD if options.oks_threshold is None else options.oks_threshold
        model = Ensemble.load(options.model, threshold, **shared)
    return refined(model, options.refine, options.precision, options.mirror)


def model_settings(model, options):
    """How a model predicts, as plain values for a file of metrics.

    Args:
        model: MultiPoseNet or Ensemble.
        options: namespace of `evaluate.py`.

    Returns:
        dict. Where the models of an ensemble differ, a value is the list of theirs.
    """
    models = getattr(model, "models", [model])
    each = [
        {
            "image_size": list(one.config.image_size),
            "precision": one.precision,
            "nms_threshold": one.nms_threshold,
            "square": one.square,
            "window": one.config.prn_window,
            "assignment": one.assignment,
        }
        for one in models
    ]
    settings = {"models": [str(folder) for folder in options.model]}
    for name, value in each[0].items():
        values = [one[name] for one in each]
        settings[name] = value if values == [value] * len(values) else values
    return {
        **settings,
        "scales": list(options.scales),
        "mirror": options.mirror,
        "crops": options.crops,
        "oks_threshold": getattr(model, "oks_threshold", None),
        "refine": options.refine,
    }


def _is_ensemble(options):
    return len(options.model) > 1 or options.oks_threshold is not None
