"""Exported models: half as large, the rounded numbers and nothing else; models that come with the package."""

import shutil
import subprocess
import sys
import types

import h5py
import keras
import numpy as np
import pytest
import tiny_networks

from mpn import export, model_directory
from mpn.errors import UserError
from mpn.export import export_model
from mpn.model_directory import (
    PARTS,
    POSITION_PRIOR_FILE,
    load_config,
    load_networks,
    model_folder,
    save_networks,
    weights_file,
)
from mpn.models.networks import Networks
from mpn.weights import fingerprint, load_weights, save_weights, stored_bytes

# Narrow but for the PRN's hidden layer, so that the numbers outweigh what HDF5 writes about them.
TINY = tiny_networks.TINY.replace(prn_nodes=16, prn_residual_gain=True)


@pytest.fixture(scope="module")
def source(small_backbone, tmp_path_factory):
    """Complete model directory as training leaves it: with an optimizer's state and a folder `training`."""
    networks = Networks(TINY)
    rng = np.random.default_rng(0)
    for model in (networks.keypoint_model(), networks.person_detector.subnet, networks.prn):
        model.set_weights([w + rng.normal(0, 0.1, w.shape).astype(w.dtype) ** 2 for w in model.get_weights()])
    # As large as the first normalisation after an image may become, and beyond float16.
    networks.backbone.get_layer("bn_Conv1").moving_variance.assign_add([1e6] * 16)
    networks.prn.compile("adam")
    networks.prn.optimizer.build(networks.prn.trainable_variables)
    networks.position_prior = (rng.random((56, 36, 17)) ** 8 / 1e3).astype(np.float32)
    networks.position_prior[..., 3] = 0  # a keypoint that nobody has
    folder = tmp_path_factory.mktemp("export") / "source"
    save_networks(networks, folder)
    (folder / "training" / "prn").mkdir(parents=True)
    (folder / "training" / "prn" / "log.csv").write_text("epoch\n")
    return folder


@pytest.fixture(scope="module")
def exported(source, tmp_path_factory):
    """The export in float16; tests must not change it."""
    folder = tmp_path_factory.mktemp("export") / "models" / "small"
    assert export_model(source, folder) == list(PARTS)
    return folder


@pytest.fixture(scope="module")
def prn_source(source, tmp_path_factory):
    """Model directory with the PRN alone, which is quick to export; tests must not change it."""
    folder = tmp_path_factory.mktemp("export") / "prn"
    save_networks(load_networks(source, ("prn",)), folder, ("prn",))
    return folder


def models_of(networks):
    return {
        "keypoints": networks.keypoint_model(),
        "person": networks.person_detector.subnet,
        "prn": networks.prn,
    }


def datasets(path):
    """All datasets of an HDF5 file: a dict of names to arrays."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def refused(*arguments, **options):
    with pytest.raises(UserError) as caught:
        export_model(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_export_loads_with_the_rounded_values_of_the_originals(source, exported):
    before, after = models_of(load_networks(source)), models_of(load_networks(exported))
    for part in PARTS:
        for old, new in zip(before[part].weights, after[part].weights, strict=True):
            expected = old.numpy()
            if expected.ndim > 1:
                expected = expected.astype(np.float16)
            assert new.dtype == "float32" and old.path.split("/")[-1] == new.path.split("/")[-1]
            np.testing.assert_array_equal(new.numpy(), expected.astype(np.float32), err_msg=f"{part} {old.path}")


def test_export_has_nothing_that_only_training_needs(source, exported):
    assert {path.name for path in exported.iterdir()} == {path.name for path in source.iterdir()} - {"training"}
    assert load_config(exported) == TINY
    for part in PARTS:
        stored = datasets(weights_file(exported, part))
        assert stored and not any(name.startswith("optimizer") for name in stored)
        assert all(a.dtype == np.float16 for a in stored.values() if a.ndim > 1)


def test_export_is_half_as_large(source, exported, tmp_path):
    export_model(source, tmp_path / "float32", "float32")
    size = {folder: weights_file(folder, "prn").stat().st_size for folder in (exported, tmp_path / "float32")}
    assert size[exported] < 0.56 * size[tmp_path / "float32"]  # biases are kept, and a ninth of this PRN
    prn = load_networks(exported, ("prn",)).prn
    for folder, storage in ((exported, "float16"), (tmp_path / "float32", "float32")):
        assert 0 < size[folder] - stored_bytes(prn.weights, storage) < 40_000


def test_an_interruption_while_bytes_are_counted_stays_one():
    def dimensions():
        raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        stored_bytes([types.SimpleNamespace(dtype="float32", shape=dimensions())])


def test_export_in_float32_keeps_every_number_but_the_optimizers(source, tmp_path):
    export_model(source, tmp_path / "copy", "float32")
    for part in PARTS:
        old, new = (datasets(weights_file(folder, part)) for folder in (source, tmp_path / "copy"))
        assert new.keys() == {name for name in old if not name.startswith("optimizer")}
        assert all(old[name].tobytes() == new[name].tobytes() for name in new)
    prior = POSITION_PRIOR_FILE
    assert (source / prior).read_bytes() == (tmp_path / "copy" / prior).read_bytes()


def test_an_export_of_an_export_is_the_same(exported, tmp_path):
    """So shipped models of before checksums get one, and keep every bit."""
    old = shutil.copytree(exported, tmp_path / "old")
    for part in PARTS:
        with h5py.File(weights_file(old, part), "r+") as file:
            del file.attrs["mpn_sha256"]
    export_model(old, tmp_path / "new")
    for part in PARTS:
        before, after = (datasets(weights_file(folder, part)) for folder in (exported, tmp_path / "new"))
        assert before.keys() == after.keys()
        assert all(before[name].tobytes() == after[name].tobytes() for name in after)
        with h5py.File(weights_file(exported, part)) as one, h5py.File(weights_file(tmp_path / "new", part)) as other:
            assert one.attrs["mpn_sha256"] == other.attrs["mpn_sha256"]
    assert (exported / POSITION_PRIOR_FILE).read_bytes() == (tmp_path / "new" / POSITION_PRIOR_FILE).read_bytes()


def test_person_weights_know_the_rounded_backbone(source, exported):
    networks = load_networks(source)
    assert fingerprint(networks.backbone, "float16") == fingerprint(load_networks(exported).backbone)
    assert fingerprint(networks.backbone, "float16") != fingerprint(networks.backbone)


def test_position_maps_keep_their_proportions(source, exported):
    assert np.load(exported / POSITION_PRIOR_FILE).dtype == np.float16
    before, after = (load_networks(folder, ("prn",)).position_prior for folder in (source, exported))
    assert after.dtype == np.float32 and np.isfinite(after).all() and not after[..., 3].any()
    relative = before / np.maximum(before.max(axis=(0, 1)), 1e-12)
    counts = relative > 0.01  # UCR takes nothing below
    np.testing.assert_allclose(after[counts], relative[counts], rtol=2**-11)
    assert (after[~counts] < 0.0101).all()


@pytest.mark.parametrize("bad", [65520.0, -1e6])
def test_what_float16_cannot_store_is_refused(source, tmp_path, bad):
    networks = load_networks(source, ("prn",))
    kernel = networks.prn.get_layer("hidden_1").kernel
    kernel.assign(np.where(np.arange(16) == 3, np.float32(bad), kernel.numpy()))
    save_networks(networks, tmp_path / "large", ("prn",))
    message = refused(tmp_path / "large", tmp_path / "small")
    assert "hidden_1/kernel" in message and f"{bad:g}" in message and "float32" in message
    assert [path.name for path in tmp_path.iterdir()] == ["large"]


def test_the_largest_number_of_float16_is_stored(tmp_path):
    networks = Networks(TINY)
    networks.prn.get_layer("hidden_1").kernel.assign_add(np.full((34272, 16), 65504, np.float32))
    save_networks(networks, tmp_path, ("prn",), "float16")
    assert load_networks(tmp_path, ("prn",)).prn.get_layer("hidden_1").kernel.numpy().max() == 65504


def test_parts_that_the_source_lacks_stay_away(prn_source, tmp_path):
    assert export_model(prn_source, tmp_path / "small") == ["prn"]
    assert not weights_file(tmp_path / "small", "keypoints").exists()
    load_networks(tmp_path / "small", ("prn",))


def test_a_source_without_weights_is_refused(tmp_path):
    model_directory.save_config(TINY, tmp_path / "empty")
    assert "holds no weights" in refused(tmp_path / "empty", tmp_path / "small")
    assert "nowhere" in refused(tmp_path / "nowhere", tmp_path / "small")
    assert not (tmp_path / "small").exists()


def test_a_target_is_overwritten_only_when_told(prn_source, tmp_path):
    target = tmp_path / "small"
    target.mkdir()
    export_model(prn_source, target)  # empty: nothing to lose
    (target / "config.json").write_text("{}")
    assert "--overwrite" in refused(prn_source, target)
    assert (target / "config.json").read_text() == "{}"
    export_model(prn_source, target, overwrite=True)
    assert load_config(target) == TINY
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_a_target_that_is_no_export_is_never_replaced(source, exported, tmp_path):
    (tmp_path / "file").write_text("")
    assert "a file" in refused(exported, tmp_path / "file", overwrite=True)
    (tmp_path / "article.tex").write_text("")
    assert "article.tex" in refused(exported, tmp_path, overwrite=True)
    assert "training" in refused(exported, source, overwrite=True)
    assert "choose another folder" in refused(source, source, overwrite=True)
    assert "choose another folder" in refused(source, source.parent, overwrite=True)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_export_leaves_the_old_one_and_nothing_else(prn_source, tmp_path, monkeypatch, error):
    export_model(prn_source, tmp_path / "small")
    before = {path.name: path.read_bytes() for path in (tmp_path / "small").iterdir()}

    def fail(*_):
        raise error

    with monkeypatch.context() as patch, pytest.raises(type(error)):
        patch.setattr("mpn.weights._rewrite_in_float16", fail)
        export_model(prn_source, tmp_path / "small", overwrite=True)
    renames = iter([export.os.rename, fail, export.os.rename])
    with monkeypatch.context() as patch, pytest.raises(type(error)):
        patch.setattr("mpn.export.os.rename", lambda *paths: next(renames)(*paths))
        export_model(prn_source, tmp_path / "small", overwrite=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "small").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_the_command_says_what_it_wrote(prn_source, tmp_path, capsys):
    export.main([str(prn_source), str(tmp_path / "small"), "--storage", "float32"])
    printed = capsys.readouterr().out
    assert "prn in float32" in printed and "MB" in printed


def test_unknown_storage_is_refused(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    with pytest.raises(UserError, match="float8"):
        save_weights(model, tmp_path / "a.weights.h5", {}, "float8")
    assert not list(tmp_path.iterdir())


def test_integers_are_kept(tmp_path):
    """A dropout's random state is one."""

    def made():
        return keras.Sequential([keras.Input((2,)), keras.layers.Dropout(0.5, seed=70001), keras.layers.Dense(2)])

    save_weights(made(), tmp_path / "a.weights.h5", {}, "float16")
    model = made()
    load_weights(model, tmp_path / "a.weights.h5", {})
    assert any(70001 in np.ravel(variable.numpy()) for variable in model.variables)


# --- models that come with the package


@pytest.fixture
def shipped(exported, tmp_path, monkeypatch):
    """Folder that stands in for mpn/pretrained, with the models "one" and "two", in another working directory."""
    folder = tmp_path / "package" / "pretrained"
    monkeypatch.setattr(model_directory, "PRETRAINED", folder)
    for name in ("one", "two"):
        shutil.copytree(exported, folder / name)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return folder


def test_a_shipped_model_is_loaded_by_its_name(shipped):
    assert model_folder("one") == shipped / "one"
    assert load_config("two") == TINY
    assert load_networks("two", ("prn",)).config == TINY


def test_a_folder_wins_over_a_shipped_model(shipped, tmp_path):
    model_directory.save_config(TINY.replace(prn_nodes=3), tmp_path / "here" / "one")
    assert load_config("one").prn_nodes == 3
    assert load_config(shipped / "one").prn_nodes == 16
    (tmp_path / "here" / "two").mkdir()  # but not one that holds no model
    assert model_folder("two") == shipped / "two"


@pytest.mark.parametrize("name", ["three", "../pretrained/one", "models/one", "*"])
def test_an_unknown_name_lists_what_there_is(shipped, name):
    with pytest.raises(UserError) as caught:
        load_networks(name)
    message = str(caught.value)
    assert message.startswith(name) and "one, two" in message and "train_keypoints.py" in message
    assert "\n" not in message


def test_without_shipped_models_an_unknown_name_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(model_directory, "PRETRAINED", tmp_path / "none")
    with pytest.raises(UserError, match="there is none"):
        model_folder("one")


def test_keras_waits_until_the_command_has_quieted_tensorflow():
    code = "import sys, mpn.export; sys.exit('keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
