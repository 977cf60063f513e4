"""How the demo finds people, in files and before a camera."""

import dataclasses

from mpn.cli.arguments import LEAST_POSE_SCORE
from mpn.cli.script import import_tensorflow


@dataclasses.dataclass(frozen=True)
class PredictionSettings:
    """Settings of the predictor.

    For a model that is loaded already, only `threshold` and `refine` count, and `precision` and `mirror` for
    refinement.
    """

    threshold: float = LEAST_POSE_SCORE  # least score of a person that is drawn and written
    image_size: tuple | None = None  # see MultiPoseNet, also for `precision`
    precision: str = "auto"
    scales: tuple = (1.0,)  # see Augmentation, also for `mirror` and `crops`
    mirror: bool = False
    crops: int = 1
    refine: str | None = None  # directory of a refinement network

    def load(self, model):
        """Returns two models, without and with refinement; they are the same if `refine` is None.

        `model` is a model directory, or anything with a `predict` like MultiPoseNet's.
        """
        # These imports take seconds; mistakes in the inputs are reported before them.
        if not hasattr(model, "predict"):
            import_tensorflow()
            from mpn import MultiPoseNet
            from mpn.inference.views import Augmentation

            views = Augmentation(self.scales, self.mirror, self.crops)
            options = {"image_size": self.image_size, "precision": self.precision, "augmentation": views}
            model = MultiPoseNet.load(model, **options)
        if self.refine is None:
            return model, model
        from mpn.inference.refiner import refined

        return model, refined(model, self.refine, self.precision, self.mirror, self.threshold)

    def find_people(self, model, image):
        """The people in an image whose scores reach the threshold: list of Person."""
        return [person for person in model.predict(image) if person.score >= self.threshold]
