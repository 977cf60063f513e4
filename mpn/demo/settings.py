"""How the demo finds people, in files and before a camera."""

import dataclasses

from mpn.cli.arguments import LEAST_POSE_SCORE
from mpn.cli.script import import_tensorflow
from mpn.deployment.folder import is_export


@dataclasses.dataclass(frozen=True)
class PredictionSettings:
    """Settings of the predictor; all but `threshold` and `refine` are for a model that is loaded from a directory.

    Attributes:
        threshold: least score of a person that is drawn and written.
        image_size, precision: see `MultiPoseNet`.
        scales, mirror, crops: see `mpn.inference.views.Augmentation`.
        refine: directory of a refinement network, or None.
    """

    threshold: float = LEAST_POSE_SCORE
    image_size: tuple | None = None
    precision: str = "auto"
    scales: tuple = (1.0,)
    mirror: bool = False
    crops: int = 1
    refine: str | None = None

    def load(self, model):
        """Two models, without and with refinement, which are the same if `refine` is None.

        Args:
            model: model directory or export, or anything with a `predict` as MultiPoseNet has it.
        """
        # The imports take seconds, which neither an export nor a mistake found before should cost.
        if not hasattr(model, "predict"):
            from mpn.inference.views import Augmentation

            if not (is_export(model) and (self.refine is None or is_export(self.refine))):
                import_tensorflow()
            if is_export(model):
                from mpn.deployment.predictor import ExportedModel as load
            else:
                from mpn import MultiPoseNet

                load = MultiPoseNet.load
            views = Augmentation(self.scales, self.mirror, self.crops)
            options = {"image_size": self.image_size, "precision": self.precision, "augmentation": views}
            model = load(model, **options)
        if self.refine is None:
            return model, model
        from mpn.inference.refiner import refined

        return model, refined(model, self.refine, self.precision, self.mirror, self.threshold)

    def find_people(self, model, image):
        """The people in an image whose scores reach the threshold: list of Person."""
        return [person for person in model.predict(image) if person.score >= self.threshold]
