"""Changes a tiny model's files in every way that its structure offers; loading it must work or say what is wrong."""

import io
import json
import pathlib
import random
import shutil
import tempfile
import traceback
import zipfile

import h5py
import numpy as np
from tiny_networks import TINY

from mpn.errors import UserError
from mpn.model_directory import PARTS, POSITION_PRIOR_FILE, load_networks, load_part, save_networks, weights_file
from mpn.models.networks import Networks

# Values of every type, and numbers of every size.
VALUES = (
    *(None, True, False, "", "8", "resnet50", "\ud800", "x" * 10_000, [], [8], [64, 96.5], [[64], 96], {}, {"a": [1]}),
    *(0, 1, -1, 3, 8, 8.5, 1e6, 10**9, 10**18, 10**400, 2**63, -(10**9), 1e-300, 1e308, 1e400),
    *(float("nan"), float("-inf"), [10**9, 10**9], [float("nan"), 1], [None, 96], [True, 96], [64] * 1000),
)

# Attributes of a weights file, as `mpn.weights` names them.
NOTES, CHECKSUM = "mpn", "mpn_sha256"


def run(count, seed):
    """Loads `count` changed models.

    Returns:
        list of str, one for each that neither loaded as it should nor was refused by a UserError of one line.
    """
    rng = random.Random(seed)
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        whole, changed = pathlib.Path(folder) / "whole", pathlib.Path(folder) / "changed"
        networks = _make(whole)
        for index in range(count):
            shutil.rmtree(changed, ignore_errors=True)
            shutil.copytree(whole, changed)
            target = rng.choice(("config", "prior", *PARTS))
            if target == "config":
                what, fault = _change_config(changed, rng), _load_changed_config
            elif target == "prior":
                what, fault = _change_prior(changed / POSITION_PRIOR_FILE, rng), _load_into
                target = "prn"
            else:
                what, fault = _change_weights(weights_file(changed, target), rng), _load_into
            if problem := fault(networks, target, changed, what):
                failures.append(f"seed {seed}, input {index}, {target}, {what}: {problem}")
    return failures


def _make(folder):
    """Networks whose numbers all differ, stored in a folder."""
    networks = Networks(TINY)
    rng = np.random.default_rng(0)
    for model in (networks.keypoint_model(), networks.person_detector.subnet, networks.prn):
        model.set_weights([w + rng.uniform(0.01, 0.1, w.shape).astype(w.dtype) for w in model.get_weights()])
    networks.position_prior = rng.random((56, 36, 17), np.float32)
    save_networks(networks, folder)
    return networks


def _load_changed_config(networks, target, folder, what):
    try:
        load_networks(folder, ("prn",))
    except UserError as error:
        return _many_lines(error)
    except (Exception, SystemExit):
        return traceback.format_exc()
    return None


def _load_into(networks, part, folder, what):
    """Loads a changed part into networks that have been built; what is wrong with that, or None."""
    model = networks.weights_of(part)
    before = [*model.get_weights(), networks.position_prior]
    try:
        load_part(networks, part, folder, any_backbone=True)
    except UserError as error:
        return _many_lines(error)
    except (Exception, SystemExit):
        return traceback.format_exc()
    else:
        after = [*model.get_weights(), networks.position_prior]
        if not all(np.isfinite(value).all() for value in after):
            return "loads numbers that are not finite"
        same = all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))
        return None if same or "no checksum" in what else "loads other numbers than were written"
    finally:
        model.set_weights(before[:-1])
        networks.position_prior = before[-1]


def _many_lines(error):
    return None if len(str(error).splitlines()) == 1 else f"more than one line: {error}"


def _change_config(folder, rng):
    path = folder / "config.json"
    fields = json.loads(path.read_text())
    names = [*fields, "heads", ""]
    for name in rng.sample(names, rng.choice((1, 1, 1, 2, 5))):
        if rng.random() < 0.1:
            fields.pop(name, None)
        else:
            fields[name] = rng.choice(VALUES)
    text = json.dumps(fields).replace("Infinity", "1e400")
    kind = rng.choice(("fields",) * 8 + ("bytes", "digits", "value"))
    if kind == "bytes":
        return _change_bytes(path, rng)
    if kind == "digits":
        text = text.replace("64", "6" * 5000)
    if kind == "value":
        text = json.dumps(rng.choice(VALUES))
    path.write_text(text)
    return f"{kind} {text[:300]}"


def _change_bytes(path, rng):
    """Cuts a file short, or changes some of its bytes."""
    data = bytearray(path.read_bytes())
    if rng.random() < 0.2:
        kept = rng.randrange(len(data))
        path.write_bytes(data[:kept])
        return f"cut after {kept} bytes"
    places = [rng.randrange(min(len(data), rng.choice((4096, len(data))))) for _ in range(rng.choice((1, 1, 10)))]
    for place in places:
        data[place] ^= 1 << rng.randrange(8)
    path.write_bytes(data)
    return f"changed bytes {places}"


def _change_prior(path, rng):
    prior = np.load(path)
    others = {
        "object": lambda: np.array([object, None], object),
        "complex": lambda: prior.astype(complex),
        "text": lambda: prior.astype(str),
        "integers": lambda: (prior * 100).astype(np.int64),
        "records": lambda: np.zeros((56, 36, 17), [("a", "f4")]),
        "float64": lambda: prior.astype(np.float64),
        "another order": lambda: np.asfortranarray(prior),
        "one number": lambda: prior + (np.arange(17) == 3) * np.float32(1e-3),
        "shape": lambda: prior[:-1],
        "scalar": lambda: np.float32(1),
        "nan": lambda: np.where(prior > 0.9, np.nan, prior),
        "nothing": lambda: np.zeros_like(prior),
    }
    kind = rng.choice((*others, "archive", "bytes", "bytes", "header", "header"))
    if kind == "bytes":
        return _change_bytes(path, rng)
    if kind == "archive":
        np.savez(path.with_suffix(".npz"), prior)
        path.with_suffix(".npz").rename(path)
    elif kind == "header":
        with open(path, "r+b") as file:
            file.seek(10)
            shape = rng.choice(
                ("(56, 36, 10**9)", "(1000000000,) * 3", "(-1,)", "(9000000000, 36, 17)", "'a'", "((", "]")
            )
            kind_of = rng.choice(("<f4", "|O", "<f99", "V8", "<M8[s]"))
            file.write(f"{{'descr': '{kind_of}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode())
            return f"header {kind_of} {shape}"
    else:
        buffer = io.BytesIO()
        np.save(buffer, others[kind](), allow_pickle=True)
        path.write_bytes(buffer.getvalue())
    return kind


def _change_weights(path, rng):
    changes = (_change_numbers, _change_dataset, _change_notes)
    kind = rng.choice((*changes, _change_bytes, _change_bytes, _change_bytes, _another_file))
    if kind not in changes:
        return kind(path, rng)
    with h5py.File(path, "r+") as file:
        what = kind(file, rng)
        if rng.random() < 0.5:
            del file.attrs[CHECKSUM]
            what += ", no checksum"
    return what


def _another_file(path, rng):
    kind = rng.choice(("empty", "text", "archive", "folder", "plain HDF5"))
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "archive":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("weights", "")
    elif kind == "plain HDF5":
        h5py.File(path, "w").close()
    else:
        path.write_text("" if kind == "empty" else "weights")
    return kind


def _datasets(file):
    names = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return names


def _change_numbers(file, rng):
    name = rng.choice(_datasets(file))
    numbers = file[name][()]
    kind = np.inf if numbers.dtype.kind != "f" else rng.choice((np.nan, np.inf, -np.inf, 0.0, 1e-3, 3e38))
    if np.isinf(kind) and numbers.dtype.kind != "f":
        file[name][()] = numbers + 1
    elif numbers.size:
        flat = numbers.reshape(-1)
        flat[rng.randrange(flat.size)] = kind
        file[name][()] = numbers
    return f"{name} {kind}"


def _change_dataset(file, rng):
    name = rng.choice(_datasets(file))
    numbers = file[name][()]
    del file[name]
    kind = rng.choice(
        ("missing", "shape", "huge", "text", "integers", "float16", "group", "link", "compressed", "float64")
    )
    if kind == "shape":
        file[name] = numbers[None]
    elif kind == "huge":
        file.create_dataset(name, shape=(10**6, 10**6), dtype="f4", chunks=(1000, 1000))
    elif kind == "text":
        file[name] = ["a", "b"]
    elif kind in ("integers", "float16", "float64"):
        file[name] = numbers.astype({"integers": np.int32}.get(kind, kind))
    elif kind == "group":
        file.create_group(name)
    elif kind == "link":
        file[name] = rng.choice((h5py.SoftLink("/nowhere"), h5py.SoftLink("/"), h5py.ExternalLink("/dev/zero", "/a")))
    elif kind == "compressed":
        file.create_dataset(name, shape=(20_000, 20_000), dtype="f4", compression="gzip", chunks=(1000, 1000))
    return f"{name} {kind}"


def _change_notes(file, rng):
    notes = json.loads(file.attrs[NOTES])
    kinds = ("value", "architecture", "backbone_fingerprint", "position_prior", "field", "number", "bytes")
    kind = rng.choice((*kinds, "fixed length", "array", "missing", "no JSON", "deep"))
    if kind == "value":
        notes = rng.choice(VALUES)
    elif kind in ("architecture", "backbone_fingerprint", "position_prior"):
        notes[kind] = rng.choice(VALUES)
    elif kind == "field":
        notes["architecture"][rng.choice([*notes["architecture"], "heads"])] = rng.choice(VALUES)
    text = {"no JSON": "{", "deep": "[" * 30_000}.get(kind, json.dumps(notes))
    del file.attrs[NOTES]
    if kind != "missing":
        others = {"number": 3.5, "bytes": np.void(b"\xff\xfe"), "fixed length": np.bytes_(text), "array": [1, 2]}
        file.attrs[NOTES] = others.get(kind, text)
    return f"notes {kind} {text[:200]}"
