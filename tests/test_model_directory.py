"""The model directory: what is saved comes back, and everything that can be wrong with it is one sentence."""

import io
import json
import shutil

import h5py
import numpy as np
import pytest
from tiny_networks import TINY

from mpn.errors import UserError
from mpn.model_directory import (
    PARTS,
    POSITION_PRIOR_FILE,
    load_networks,
    save_config,
    save_networks,
    save_part,
    weights_file,
)
from mpn.models.networks import Networks
from mpn.weights import check_numbers, fingerprint, load_weights, read_notes, save_weights


@pytest.fixture(scope="module")
def networks(small_backbone):
    """Networks all of whose weights differ from those of new ones."""
    networks = Networks(TINY)
    rng = np.random.default_rng(0)
    for model in (networks.keypoint_model(), networks.person_detector.subnet, networks.prn):
        model.set_weights([w + rng.uniform(0.01, 0.1, w.shape).astype(w.dtype) for w in model.get_weights()])
    networks.position_prior = rng.random((56, 36, 17), np.float32)
    return networks


@pytest.fixture(scope="module")
def saved(networks, tmp_path_factory):
    """A complete model directory; tests must not change it."""
    folder = tmp_path_factory.mktemp("saved") / "models" / "tiny"
    save_networks(networks, folder)
    return folder


@pytest.fixture
def directory(saved, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(saved, tmp_path / "model")


def one_sentence(caught):
    assert "\n" not in str(caught.value)
    return str(caught.value)


# The parts that must be loaded to see what is wrong with one.
NEEDED = {"keypoints": ("keypoints",), "person": ("keypoints", "person"), "prn": ("prn",)}


def refused(directory, parts=PARTS):
    with pytest.raises(UserError) as caught:
        load_networks(directory, parts)
    return one_sentence(caught)


def edit_config(directory, **fields):
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_round_trip_gives_equal_outputs(networks, saved):
    loaded = load_networks(saved)
    assert loaded.config == TINY
    assert fingerprint(loaded.backbone) == fingerprint(networks.backbone)
    rng = np.random.default_rng(1)
    image = rng.uniform(0, 255, (1, 64, 96, 3)).astype(np.float32)
    expected, actual = networks.forward.predict_on_batch(image), loaded.forward.predict_on_batch(image)
    for name in ("heatmaps", "regression", "classification"):
        np.testing.assert_allclose(actual[name], expected[name], rtol=1e-6, atol=1e-6)
    roi = rng.random((2, 56, 36, 17), np.float32)
    np.testing.assert_allclose(loaded.prn.predict_on_batch(roi), networks.prn.predict_on_batch(roi), rtol=1e-6)
    np.testing.assert_array_equal(loaded.position_prior, networks.position_prior)


def test_a_directory_holds_what_the_design_says(saved):
    names = {path.name for path in saved.iterdir()}
    assert names == {"config.json", POSITION_PRIOR_FILE, *(f"{part}.weights.h5" for part in PARTS)}
    with h5py.File(weights_file(saved, "person")) as file:
        inside = []
        file.visit(inside.append)
        # The backbone is in the keypoints file alone.
        assert inside and not any("backbone" in name or "mobilenet" in name for name in inside)
    assert len(read_notes(weights_file(saved, "person"))["backbone_fingerprint"]) == 64


def test_fingerprint_tells_weights_apart(networks):
    model = Networks(TINY).prn
    model.set_weights(networks.prn.get_weights())
    before = fingerprint(model)
    assert before == fingerprint(networks.prn)
    weights = model.get_weights()
    weights[-1][123] = np.nextafter(weights[-1][123], np.float32(1))
    model.set_weights(weights)
    assert fingerprint(model) != before


@pytest.mark.parametrize("part", PARTS)
def test_missing_part_names_its_script(directory, part):
    weights_file(directory, part).unlink()
    message = refused(directory, NEEDED[part])
    assert f"train_{part}.py --model {directory}" in message and f"{part}.weights.h5" in message


def test_parts_that_are_not_asked_for_may_be_missing(directory):
    for part in ("person", "prn"):
        weights_file(directory, part).unlink()
    load_networks(directory, ("keypoints",))


def test_missing_directory_names_the_first_script(tmp_path):
    assert "train_keypoints.py" in refused(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "part, changes, words",
    [
        ("keypoints", {"keypoint_channels": 16}, ("keypoint_channels", "8", "16")),
        ("keypoints", {"backbone": "resnet50", "width": 1.0}, ("backbone", "mobilenet_v2", "resnet50")),
        ("keypoints", {"intermediate_supervision": False}, ("intermediate_supervision", "True", "False")),
        ("keypoints", {"concat": False}, ("concat", "True", "False")),
        ("prn", {"prn_nodes": 16}, ("prn_nodes", "8", "16")),
        ("prn", {"prn_residual": False}, ("prn_residual", "True", "False")),
        ("prn", {"prn_margin": 0.5}, ("prn_margin", "0.21", "0.5")),
    ],
)
def test_other_architecture_is_refused_with_what_differs(directory, part, changes, words):
    edit_config(directory, **changes)
    message = refused(directory, (part,))
    assert all(word in message for word in (*words, f"{part}.weights.h5"))
    assert "prn_layers" not in message and "keypoint_head_channels" not in message  # what agrees is not named


def test_weights_from_before_a_field_existed_have_its_default(directory):
    path = weights_file(directory, "prn")
    with h5py.File(path, "r+") as file:
        del file.attrs["mpn_sha256"]  # files from before have none
        notes = json.loads(file.attrs["mpn"])
        del notes["architecture"]["prn_pool"], notes["architecture"]["prn_residual_gain"]
        file.attrs["mpn"] = json.dumps(notes)
    load_networks(directory, ("prn",))
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, "prn_pool": 2}))
    with pytest.raises(UserError, match="prn_pool is 1 there and 2 here"):
        load_networks(directory, ("prn",))


def test_other_person_channels_are_refused(directory):
    edit_config(directory, person_head_channels=16)
    message = refused(directory)
    assert "person_head_channels is 8 there and 16 here" in message


def test_person_weights_of_another_backbone_are_refused(directory):
    other = Networks(TINY)  # a new backbone, of the same architecture
    save_part(other, "keypoints", directory)
    message = refused(directory)
    assert f"train_person.py --model {directory}" in message and "backbone" in message
    load_networks(directory, ("keypoints", "prn"))


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_truncated_weights_are_refused(directory, part, keep):
    path = weights_file(directory, part)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    assert path.name in refused(directory, NEEDED[part])


def test_a_text_file_is_no_weights_file(directory):
    weights_file(directory, "prn").write_text("weights")
    assert "prn.weights.h5" in refused(directory, ("prn",))


def change(path, part_of_name, number):
    """Changes one number of a weights file, and leaves its checksum."""
    with h5py.File(path, "r+") as file:
        names = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        data = file[next(name for name in names if part_of_name in name and file[name].size)]
        data[(0,) * data.ndim] = number


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(directory, part, number):
    change(weights_file(directory, part), "vars", number)
    with h5py.File(weights_file(directory, part), "r+") as file:
        del file.attrs["mpn_sha256"]  # files from before have none
    message = refused(directory, NEEDED[part])
    assert "not finite" in message and f"{part}.weights.h5" in message


@pytest.mark.parametrize("part", PARTS)
def test_one_changed_number_is_noticed(directory, part):
    change(weights_file(directory, part), "vars", 0.123)
    message = refused(directory, NEEDED[part])
    assert "not those that were written" in message and f"{part}.weights.h5" in message


def test_changed_notes_are_noticed(directory):
    path = weights_file(directory, "prn")
    with h5py.File(path, "r+") as file:
        file.attrs["mpn"] = json.dumps(json.loads(file.attrs["mpn"]) | {"position_prior": None})
    assert "not those that were written" in refused(directory, ("prn",))


def drop_checksums(directory):
    """Makes the weights files such as they were before there were checksums."""
    for part in PARTS:
        with h5py.File(weights_file(directory, part), "r+") as file:
            del file.attrs["mpn_sha256"]
            notes = json.loads(file.attrs["mpn"])
            notes.pop("position_prior", None)
            file.attrs["mpn"] = json.dumps(notes)


def test_files_without_checksum_load(directory):
    drop_checksums(directory)
    assert fingerprint(load_networks(directory).prn) == fingerprint(load_networks(directory).prn)


@pytest.mark.parametrize(
    "notes",
    [
        *(3.5, [1, 2], "null", "[]", "7", '{"architecture": 3}', '{"architecture": []}', "[" * 9999),
        *(np.void(b"\xff"), np.bytes_(b"{}")),
    ],
)
def test_notes_of_another_type_are_refused(directory, notes):
    with h5py.File(weights_file(directory, "prn"), "r+") as file:
        file.attrs["mpn"] = notes
    assert "prn.weights.h5" in refused(directory, ("prn",))
    with pytest.raises(UserError, match="prn.weights.h5"):
        check_numbers(weights_file(directory, "prn"))


def test_weights_that_may_not_be_read_are_not_called_damaged(directory, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Unable to synchronously open file")

    path = weights_file(directory, "prn")
    monkeypatch.setattr(h5py, "File", refuse)
    for read in (read_notes, check_numbers):
        with pytest.raises(PermissionError) as caught:
            read(path)
        assert caught.value.filename == str(path)


@pytest.mark.parametrize("kind", ["text", "huge", "compressed"])
def test_weights_in_another_form_are_refused_before_they_are_read(directory, kind):
    with h5py.File(weights_file(directory, "prn"), "r+") as file:
        names = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        del file[names[0]]
        if kind == "text":
            file[names[0]] = ["a"]
        elif kind == "huge":
            file.create_dataset(names[0], shape=(10**6, 10**6), dtype="f4")
        else:
            file.create_dataset(names[0], shape=(10**6, 10**6), dtype="f4", compression="gzip", chunks=(1000, 1000))
    assert "another form" in refused(directory, ("prn",))


def test_an_architecture_is_compared_before_anything_is_built(directory, monkeypatch):
    edit_config(directory, prn_nodes=8192)
    monkeypatch.setattr("mpn.models.networks.build_prn", lambda *_: pytest.fail("built"))
    assert "prn_nodes is 8 there and 8192 here" in refused(directory, ("prn",))


def test_weights_of_plain_keras_are_refused(networks, directory):
    networks.prn.save_weights(weights_file(directory, "prn"))
    assert "not a weights file of this project" in refused(directory, ("prn",))


def test_weights_that_do_not_fit_in_spite_of_their_notes_are_refused(networks, directory):
    path = weights_file(directory, "prn")
    notes = read_notes(path)
    with h5py.File(path, "r+") as file:
        del file.attrs["mpn_sha256"]
        names = []
        file.visit(lambda name: names.append(name) if isinstance(file[name], h5py.Dataset) else None)
        name = next(name for name in names if file[name].ndim == 2)
        del file[name]
        file[name] = np.zeros((2, 3), np.float32)
    with pytest.raises(UserError, match="does not fit the model or is damaged") as caught:
        load_weights(Networks(TINY).prn, path, notes["architecture"])
    one_sentence(caught)


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def npz():
    buffer = io.BytesIO()
    np.savez(buffer, np.ones((56, 36, 17), np.float32))
    return buffer.getvalue()


BAD_PRIORS = {
    "empty": b"",
    "text": b"no array",
    "shape": npy(np.ones((3, 3), np.float32)),
    "archive": npz(),
    "objects": npy(np.full((56, 36, 17), None)),
    "texts": npy(np.full((56, 36, 17), "a")),
    "huge": npy(np.ones(3, np.float32)).replace(b"(3,)" + b" " * 15, b"(56, 36, 999999999)"),
    "header": npy(np.ones(3, np.float32)).replace(b"(3,)", b"((((")[:100],
    "NaN": npy(np.full((56, 36, 17), np.nan, np.float32)),
    "other maps": npy(np.ones((56, 36, 17), np.float32)),
}


@pytest.mark.parametrize("kind", BAD_PRIORS)
def test_damaged_position_prior_is_refused(directory, kind):
    if kind != "other maps":  # which only the checksum can tell
        drop_checksums(directory)
    (directory / POSITION_PRIOR_FILE).write_bytes(BAD_PRIORS[kind])
    message = refused(directory, ("prn",))
    assert POSITION_PRIOR_FILE in message and "train_prn.py" in message


# --- saving that fails


def listing(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_save_leaves_the_old_file_and_nothing_else(networks, directory, monkeypatch, error):
    before = listing(directory)

    def half(self, path, **options):
        path.write_bytes(b"half of the weights")
        raise error

    monkeypatch.setattr(type(networks.prn), "save_weights", half)
    with pytest.raises(type(error)):
        save_part(networks, "prn", directory)
    assert listing(directory) == before


def test_a_failed_first_save_leaves_nothing(networks, tmp_path, monkeypatch):
    def half(self, path, **options):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(networks.prn), "save_weights", half)
    with pytest.raises(OSError) as caught:
        save_weights(networks.prn, tmp_path / "new" / "prn.weights.h5", {})
    assert caught.value.filename == str(tmp_path / "new" / "prn.weights.h5")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_save_whose_notes_fail_leaves_the_old_file(networks, directory):
    before = listing(directory)
    with pytest.raises(TypeError):
        save_weights(networks.prn, weights_file(directory, "prn"), {"architecture": object()})
    assert listing(directory) == before


def test_a_config_that_cannot_be_written_leaves_the_old_one(directory, monkeypatch):
    before = listing(directory)

    def fail(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("mpn.files.os.replace", fail)
    with pytest.raises(OSError):
        save_config(TINY.replace(prn_nodes=9), directory)
    assert listing(directory) == before
