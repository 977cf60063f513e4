"""The networks of MultiPoseNet (Fig. 1), built from one configuration."""

import functools

import keras
import numpy as np

from mpn.models.backbone import build_backbone
from mpn.models.keypoint import build_keypoint_model, build_keypoint_subnet
from mpn.models.person import PersonDetector
from mpn.models.prn import build_prn


class Networks:
    """Shared backbone, keypoint subnet, person detector and PRN of one ModelConfig, each built at its first use."""

    def __init__(self, config):
        self.config = config
        # (56, 36, 17) float32, UCR's P_k (Eq. 2) up to a factor per keypoint; None until learned or loaded.
        self.position_prior = None

    @functools.cached_property
    def backbone(self):
        config = self.config
        return build_backbone(config.backbone, config.dilated, config.width, config.folded)

    @functools.cached_property
    def keypoint_subnet(self):
        config = self.config
        depths = config.keypoint_channels, config.keypoint_head_channels
        return build_keypoint_subnet(self.backbone, *depths, config.concat, config.intermediate_supervision)

    @functools.cached_property
    def person_detector(self):
        detector = PersonDetector(self.backbone, self.config.person_channels, self.config.person_head_channels)
        detector(np.zeros((1, 64, 64, 3), np.float32))
        return detector

    @functools.cached_property
    def prn(self):
        return self.new_prn()

    def new_prn(self):
        """A PRN of the same architecture with new weights."""
        names = ("nodes", "layers", "dropout", "residual", "pool", "residual_gain")
        return build_prn(**{name: getattr(self.config, f"prn_{name}") for name in names})

    def keypoint_model(self, supervised=True):
        """A new model over the shared backbone and keypoint subnet; see `build_keypoint_model`."""
        return build_keypoint_model(self.backbone, self.keypoint_subnet, supervised)

    @functools.cached_property
    def forward(self):
        """The keras.Model of the single forward pass, which runs the backbone once.

        From (B, H, W, 3) RGB floats in 0-255, H and W multiples of 32, to a dict of float32: "heatmaps"
        (B, H/4, W/4, 18), "regression" (B, A, 4) and "classification" (B, A, 1); see `PersonDetector.call`.
        """
        features = self.backbone(self.backbone.input)
        outputs = {"heatmaps": self.keypoint_subnet(features)["heatmaps"], **self.person_detector.heads(features)}
        return keras.Model(self.backbone.input, outputs, name="multiposenet")

    def weights_of(self, part):
        """The keras.Model whose weights a file holds: "keypoints" (with the backbone), "person" or "prn"."""
        if part == "keypoints":
            return self.keypoint_model()
        return self.person_detector.subnet if part == "person" else self.prn
