"""Model directories, which the scripts use to pass models on.

config.json holds a ModelConfig. keypoints.weights.h5 holds backbone and keypoint subnet, person.weights.h5 the person
subnet and the fingerprint of the backbone that it was trained on, prn.weights.h5 the PRN. training/PART holds the log
and the last checkpoint of each stage.
"""

import dataclasses
import hashlib
import pathlib
import shlex

import numpy as np

from mpn.config import read_config
from mpn.errors import UserError
from mpn.files import atomic_path, write_json
from mpn.models.networks import Networks
from mpn.roi import ROI_HEIGHT, ROI_WIDTH
from mpn.skeleton import NUM_KEYPOINTS
from mpn.weights import check_architecture, fingerprint, load_weights, read_notes, save_weights

PARTS = ("keypoints", "person", "prn")
CONFIG_FILE = "config.json"

# UCR's mean position maps P_k (Eq. 2), from the labels that train the PRN.
POSITION_PRIOR_FILE = "position_prior.npy"

# Holds a folder for each shipped model.
PRETRAINED = pathlib.Path(__file__).parent / "pretrained"


def weights_file(model_dir, part):
    """Path of the weights of one of PARTS."""
    return pathlib.Path(model_dir) / f"{part}.weights.h5"


def run_folder(model_dir, part):
    """Folder of the log and the checkpoint of a part's training."""
    return pathlib.Path(model_dir) / "training" / part


def last_checkpoint(model_dir, part):
    """Path of the checkpoint from which a part's training resumes."""
    return run_folder(model_dir, part) / "last.weights.h5"


def person_command(model_dir):
    """The command that trains the person subnet on a model directory's present backbone."""
    resume = " --resume" if last_checkpoint(model_dir, "person").exists() else ""
    return f"train_person.py --model {shlex.quote(str(model_dir))}{resume}"


def model_folder(name_or_path):
    """A model directory's path, or the folder of a shipped model of that name; UserError if there is neither."""
    folder = pathlib.Path(name_or_path)
    shipped = {path.parent.name: path.parent for path in sorted(PRETRAINED.glob(f"*/{CONFIG_FILE}"))}
    # A folder without config.json does not hide the shipped model of its name.
    if str(name_or_path) in shipped and not (folder / CONFIG_FILE).exists():
        return shipped[str(name_or_path)]
    if folder.is_dir():
        return folder
    raise UserError(
        f"{name_or_path} is neither a folder nor a model that comes with this package "
        f"({', '.join(shipped) or 'there is none'}): check the name, or run train_keypoints.py --model {name_or_path}"
    )


def load_config(model_dir):
    """The ModelConfig of a model directory or shipped model; UserError if config.json is missing or wrong."""
    path = model_folder(model_dir) / CONFIG_FILE
    if not path.exists():
        raise UserError(f"{path} does not exist: run train_keypoints.py --model {model_dir} first")
    return read_config(path)


def config_or(default, model_dir):
    """The ModelConfig of a model directory, or `default` if it has none yet."""
    return load_config(model_dir) if (pathlib.Path(model_dir) / CONFIG_FILE).exists() else default


def save_section(config, model_dir, part):
    """Writes the PRN's fields ("prn") or all others ("keypoints") to config.json, and keeps the rest of the file."""
    stored = config_or(config, model_dir)
    mine = {name: v for name, v in dataclasses.asdict(config).items() if name.startswith("prn_") == (part == "prn")}
    save_config(stored.replace(**mine), model_dir)


def save_stage(networks, part, model_dir):
    """Writes what the training of a part changes in a model directory: see `save_section` and `save_part`."""
    save_section(networks.config, model_dir, part)
    save_part(networks, part, model_dir)


def save_config(config, model_dir):
    """Writes config.json of a model directory, which is created if needed."""
    pathlib.Path(model_dir).mkdir(parents=True, exist_ok=True)
    write_json(pathlib.Path(model_dir) / CONFIG_FILE, dataclasses.asdict(config))


def save_networks(networks, model_dir, parts=PARTS, storage="float32"):
    """Writes the configuration and the weights of some PARTS, each file atomically; see `save_weights`."""
    save_config(networks.config, model_dir)
    for part in parts:
        save_part(networks, part, model_dir, storage)


def save_part(networks, part, model_dir, storage="float32"):
    """Writes the weights of one of PARTS. "keypoints" includes the backbone; "person" must have the same storage."""
    notes = {"architecture": networks.config.section(part)}
    if part == "person":
        notes["backbone_fingerprint"] = fingerprint(networks.backbone, storage)
    model = networks.weights_of(part)
    if part == "prn" and getattr(model, "optimizer", None):
        model = networks.new_prn()  # without an optimizer, whose state is twice as large
        model.set_weights(networks.prn.get_weights())
    prior = networks.position_prior if part == "prn" else None
    if prior is not None and storage == "float16":
        # Divided by the maximum: many probabilities are too small for float16, and UCR needs only their ratios.
        prior = (prior / np.maximum(prior.max(axis=(0, 1)), 1e-12)).astype(np.float16)
    if prior is not None:
        notes["position_prior"] = _checksum(prior)
    save_weights(model, weights_file(model_dir, part), notes, storage)
    if prior is not None:
        with atomic_path(pathlib.Path(model_dir) / POSITION_PRIOR_FILE) as temporary:
            np.save(temporary, prior)


def load_networks(model_dir, parts=PARTS, refiner=False):
    """Builds the Networks of a model directory or shipped model, and loads some of their PARTS.

    "person" needs "keypoints", which holds the backbone. `refiner` allows a refinement network (§4.2), which cannot see
    whole images. Raises UserError where something is missing or does not fit; the message says which stage to run.
    """
    model_dir = model_folder(model_dir)
    networks = Networks(load_config(model_dir))
    if networks.config.refiner_share is not None and not refiner:
        raise UserError(f"{model_dir} is a refinement network, which cannot find people: pass it to --refine")
    for part in PARTS:
        if part in parts:
            load_part(networks, part, model_dir)
    return networks


def load_part(networks, part, model_dir, any_backbone=False):
    """Loads one part; `any_backbone` allows a person subnet of another backbone, to train it further."""
    path = weights_file(model_dir, part)
    if not path.exists():
        raise UserError(f"{path} does not exist: run train_{part}.py --model {model_dir} first")
    own_backbone = part == "person" and not any_backbone
    if own_backbone and read_notes(path).get("backbone_fingerprint") != fingerprint(networks.backbone):
        keypoints = weights_file(model_dir, "keypoints")
        raise UserError(
            f"{path} was trained on another backbone than that of {keypoints}: run {person_command(model_dir)}"
        )
    architecture = networks.config.section(part)
    check_architecture(path, architecture)  # before a large network is built
    notes = load_weights(networks.weights_of(part), path, architecture)
    prior = pathlib.Path(model_dir) / POSITION_PRIOR_FILE
    if part == "prn" and prior.exists():
        networks.position_prior = _load_prior(prior, notes.get("position_prior"))


def _load_prior(path, checksum):
    try:
        # Memory-mapped, since the header of a damaged file may ask for any amount of memory.
        prior = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # np.load raises many classes for damaged files
        raise UserError(f"{path} is damaged: run train_prn.py again") from error
    if not isinstance(prior, np.ndarray) or prior.dtype.kind != "f":
        fault = "holds no array of numbers"
    elif prior.shape != (ROI_HEIGHT, ROI_WIDTH, NUM_KEYPOINTS):
        fault = f"has shape {prior.shape}, not (56, 36, 17)"
    elif not np.isfinite(prior).all() or not prior.any():
        fault = "holds no position maps, or numbers that are not finite"
    elif checksum not in (None, _checksum(prior)):  # old files have none
        fault = "is damaged, or belongs to other weights than those beside it"
    else:
        return np.array(prior, np.float32)
    raise UserError(f"{path} {fault}: run train_prn.py again")


def _checksum(prior):
    return hashlib.sha256(np.ascontiguousarray(prior)).hexdigest()
