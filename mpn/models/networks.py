"""The networks of MultiPoseNet (Fig. 1) built from one configuration, and the model directory that stores them."""

import functools
import hashlib
import pathlib
import shlex
import tokenize

import keras
import numpy as np

from mpn.config import load_config, model_folder, save_config
from mpn.errors import UserError
from mpn.files import atomic_path
from mpn.models.backbone import build_backbone
from mpn.models.keypoint import build_keypoint_model, build_keypoint_subnet
from mpn.models.person import PersonDetector
from mpn.models.prn import build_prn
from mpn.roi import ROI_HEIGHT, ROI_WIDTH
from mpn.skeleton import NUM_KEYPOINTS
from mpn.weights import check_architecture, fingerprint, load_weights, read_notes, save_weights

PARTS = ("keypoints", "person", "prn")

# UCR's mean position maps P_k (Eq. 2); they come from the labels that train the PRN.
POSITION_PRIOR_FILE = "position_prior.npy"

# As np.load raises them for damaged files.
_NUMPY_ERRORS = (EOFError, OSError, ValueError, TypeError, SyntaxError, MemoryError, OverflowError, tokenize.TokenError)


class Networks:
    """Backbone, keypoint subnet, person detector and PRN of one configuration, each built when first asked for.

    The keypoint model and the person detector hold the same backbone object.

    Args:
        config: ModelConfig.

    Attributes:
        position_prior: (56, 36, 17) float32, UCR's P_k up to a factor a keypoint, or None before it was learned or
            loaded.
    """

    def __init__(self, config):
        self.config = config
        self.position_prior = None

    @functools.cached_property
    def backbone(self):
        """The shared feature extractor: keras.Model, images to C2-C5."""
        config = self.config
        return build_backbone(config.backbone, config.dilated, config.width, config.folded)

    @functools.cached_property
    def keypoint_subnet(self):
        """keras.Model, C2-C5 to heatmaps; see `build_keypoint_subnet`."""
        return build_keypoint_subnet(
            self.backbone,
            self.config.keypoint_channels,
            self.config.keypoint_head_channels,
            self.config.concat,
            self.config.intermediate_supervision,
        )

    @functools.cached_property
    def person_detector(self):
        """PersonDetector on the shared backbone, built."""
        detector = PersonDetector(self.backbone, self.config.person_channels, self.config.person_head_channels)
        detector(np.zeros((1, 64, 64, 3), np.float32))
        return detector

    @functools.cached_property
    def prn(self):
        """keras.Model, RoIs to poses; see `build_prn`."""
        return self._build_prn()

    def _build_prn(self):
        config = self.config
        return build_prn(
            config.prn_nodes,
            config.prn_layers,
            config.prn_dropout,
            config.prn_residual,
            config.prn_pool,
            config.prn_residual_gain,
        )

    def keypoint_model(self, supervised=True):
        """A new functional model over the shared backbone and keypoint subnet; see `build_keypoint_model`."""
        return build_keypoint_model(self.backbone, self.keypoint_subnet, supervised)

    @functools.cached_property
    def forward(self):
        """keras.Model of the single forward pass, which runs the backbone once.

        Takes (B, H, W, 3) RGB floats in 0-255, H and W multiples of 32. Gives a dict: "heatmaps" (B, H/4, W/4, 18),
        "regression" (B, A, 4) and "classification" (B, A, 1), float32. `mpn.models.person.decode_boxes` and
        `mpn.heatmaps.find_peaks` turn them into boxes and peaks.
        """
        features = self.backbone(self.backbone.input)
        outputs = {"heatmaps": self.keypoint_subnet(features)["heatmaps"], **self.person_detector.heads(features)}
        return keras.Model(self.backbone.input, outputs, name="multiposenet")

    def save(self, model_dir, parts=PARTS, storage="float32"):
        """Writes the configuration and the weights of some parts to a model directory, each file atomically.

        Args:
            model_dir: folder, which is created if need be.
            parts: of PARTS.
            storage: "float32" or "float16", see `save_weights`.

        Raises:
            UserError: a weight is too large for float16.
        """
        save_config(self.config, model_dir)
        for part in parts:
            self.save_part(part, model_dir, storage)

    def save_part(self, part, model_dir, storage="float32"):
        """Writes the weights of one part: "keypoints" (with the backbone), "person" or "prn"; see `save`.

        "person" and "keypoints" of a directory belong together, and must have the same storage.
        """
        notes = {"architecture": _plain(self.config.section(part))}
        if part == "person":
            notes["backbone_fingerprint"] = fingerprint(self.backbone, storage)
        model = self._weights_of(part)
        if part == "prn" and getattr(model, "optimizer", None):
            model = self._build_prn()  # Keras would store the optimizer, twice the weights again
            model.set_weights(self.prn.get_weights())
        prior = self.position_prior if part == "prn" else None
        if prior is not None:
            prior = _stored_prior(prior, storage)
            notes["position_prior"] = _checksum(prior)
        save_weights(model, weights_file(model_dir, part), notes, storage)
        if prior is not None:
            with atomic_path(pathlib.Path(model_dir) / POSITION_PRIOR_FILE) as temporary:
                np.save(temporary, prior)

    @classmethod
    def load(cls, model_dir, parts=PARTS, refiner=False):
        """Builds the networks of a model directory and loads some of its parts.

        Args:
            model_dir: folder with config.json and weights, or the name of a shipped model, see `model_folder`.
            parts: of PARTS. "person" also loads the backbone, with "keypoints".
            refiner: whether the directory may hold a refinement network (§4.2), which is none for whole images.

        Raises:
            UserError: something is missing or does not fit; the message says which stage to run.
        """
        model_dir = model_folder(model_dir)
        networks = cls(load_config(model_dir))
        if networks.config.refiner_share is not None and not refiner:
            raise UserError(f"{model_dir} is a refinement network, which finds nobody by itself: pass it to --refine")
        for part in PARTS:
            if part in parts:
                networks.load_part(part, model_dir)
        return networks

    def load_part(self, part, model_dir, any_backbone=False):
        """Loads the weights of one part of a model directory; see `load`.

        Args:
            part: of PARTS.
            model_dir: folder.
            any_backbone: take a person subnet that was trained on other backbone weights, to train it on.
        """
        path = weights_file(model_dir, part)
        if not path.exists():
            raise UserError(f"{path} does not exist: run train_{part}.py --model {model_dir} first")
        if part == "person" and not any_backbone:
            self._check_backbone(path, model_dir)
        architecture = _plain(self.config.section(part))
        check_architecture(path, architecture)  # before a network is built that may be a large one
        notes = load_weights(self._weights_of(part), path, architecture)
        prior = pathlib.Path(model_dir) / POSITION_PRIOR_FILE
        if part == "prn" and prior.exists():
            self.position_prior = _load_prior(prior, notes.get("position_prior"))

    def _check_backbone(self, path, model_dir):
        if read_notes(path).get("backbone_fingerprint") != fingerprint(self.backbone):
            raise UserError(
                f"{path} was trained on another backbone than that of {weights_file(model_dir, 'keypoints')}: "
                f"run {person_command(model_dir)}"
            )

    def _weights_of(self, part):
        """The model whose weights a part's file holds."""
        if part == "keypoints":
            return self.keypoint_model()
        return self.person_detector.subnet if part == "person" else self.prn


def weights_file(model_dir, part):
    """Path of a part's weights in a model directory."""
    return pathlib.Path(model_dir) / f"{part}.weights.h5"


def run_folder(model_dir, part):
    """Folder of the logs and the checkpoint of a part's training in a model directory."""
    return pathlib.Path(model_dir) / "training" / part


def last_checkpoint(model_dir, part):
    """Path of the resumable state of a part's training."""
    return run_folder(model_dir, part) / "last.weights.h5"


def person_command(model_dir):
    """The command that trains the person subnet on the backbone that a model directory has now."""
    resume = " --resume" if last_checkpoint(model_dir, "person").exists() else ""
    return f"train_person.py --model {shlex.quote(str(model_dir))}{resume}"


def _plain(section):
    """A configuration section as JSON gives it back."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in section.items()}


def _stored_prior(prior, storage):
    """The position maps as they are stored; in float16 relative to each keypoint's most likely cell.

    UCR looks at that relation alone. As probabilities, many cells would be too small for float16's full precision.
    """
    if storage == "float32":
        return prior
    return (prior / np.maximum(prior.max(axis=(0, 1)), 1e-12)).astype(np.float16)


def _load_prior(path, checksum):
    try:
        # Memory-mapped, so that a header cannot ask for more memory than the file has bytes.
        prior = np.load(path, mmap_mode="r", allow_pickle=False)
    except _NUMPY_ERRORS as error:
        raise UserError(f"{path} is damaged: run train_prn.py again") from error
    if not isinstance(prior, np.ndarray) or prior.dtype.kind != "f":
        raise UserError(f"{path} holds no array of numbers: run train_prn.py again")
    if prior.shape != (ROI_HEIGHT, ROI_WIDTH, NUM_KEYPOINTS):
        raise UserError(f"{path} has shape {prior.shape}, not (56, 36, 17): run train_prn.py again")
    if not np.isfinite(prior).all() or not prior.any():
        raise UserError(f"{path} holds no position maps, or numbers that are not finite: run train_prn.py again")
    if checksum is not None and checksum != _checksum(prior):  # files from before have none
        raise UserError(f"{path} is damaged, or of other weights than those beside it: run train_prn.py again")
    return np.array(prior, np.float32)


def _checksum(prior):
    return hashlib.sha256(np.ascontiguousarray(prior)).hexdigest()
