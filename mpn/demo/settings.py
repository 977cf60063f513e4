"""How the demo finds people, in files and before a camera."""

import dataclasses

from mpn import kinds
from mpn.cli.script import import_tensorflow
from mpn.inference.export_folder import is_export
from mpn.inference.views import Augmentation
from mpn.settings import Settings, option

# Models of the package.
DEFAULT_MODEL, DEFAULT_REFINER = "small", "small-refiner"

# Least pose score of a person that the demo draws and writes.
LEAST_POSE_SCORE = 0.2


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictionSettings(Augmentation):
    """Settings of the predictor.

    For a model that is loaded already, only `threshold` and `refine` count, and `precision`, `mirror` and `scales` for
    refinement.
    """

    threshold: float = option(
        LEAST_POSE_SCORE, kinds.share, "least score of a person that is refined, drawn and written", metavar="SCORE"
    )
    precision: str = option("auto", kinds.choice("auto", "float32", "bfloat16", "float16"), "of the network")
    refine: str | None = option(
        None,
        kinds.TEXT,
        "look at each person again with the refinement network in this directory (default: "
        f"{DEFAULT_REFINER} for images if --model is {DEFAULT_MODEL}; none for videos and cameras)",
        metavar="DIR",
    )
    image_size: tuple | None = option(
        None,
        kinds.SIDES,
        "SHORTER [LONGEST]: scale images to this shorter side, but not beyond this longest one (default: the model's "
        "own; put inputs before options)",
    )

    def load(self, model):
        """Returns two models, without and with refinement; they are the same if `refine` is None.

        `model` is a model directory, an export, or anything with a `predict` like MultiPoseNet's.
        """
        views = Augmentation(self.scales, self.mirror, self.crops)
        # These imports take seconds. An export does without, and mistakes in the inputs are reported before.
        if not hasattr(model, "predict"):
            if not (is_export(model) and (self.refine is None or is_export(self.refine))):
                import_tensorflow()
            if is_export(model):
                from mpn.inference.exported_model import ExportedModel as load
            else:
                from mpn import MultiPoseNet

                load = MultiPoseNet.load
            model = load(model, image_size=self.image_size, precision=self.precision, augmentation=views)
        from mpn.inference.refiner import refined

        return model, refined(model, self.refine, self.precision, views, self.threshold)

    def find_people(self, model, image):
        """The people in an image whose scores reach the threshold: list of Person."""
        return [person for person in model.predict(image) if person.score >= self.threshold]


@dataclasses.dataclass(frozen=True, kw_only=True)
class WebSettings(Settings):
    """Where the page of `demo.py --web` is served."""

    host: str = option(
        "127.0.0.1",
        kinds.TEXT,
        "with --web: address to serve the page at; 0.0.0.0 lets other computers in",
        metavar="ADDRESS",
    )
    port: int = option(7860, kinds.positive_int, "with --web: port to serve the page at", metavar="N")
