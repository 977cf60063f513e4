"""Person segmentation on PASCAL VOC 2012: IoU worked out by hand, masks as VOC stores them, and what is refused."""

import json
import shutil
import tarfile

import numpy as np
import pytest
from PIL import Image

from mpn.cli.script import run
from mpn.config import ModelConfig
from mpn.data.voc import VOID, load_voc, palette, read_classes, write_person_mask
from mpn.errors import UserError
from mpn.evaluation import voc as script
from mpn.evaluation.segmentation import pixel_counts, silhouette_metrics
from mpn.images import read_image, write_image
from mpn.inference.multiposenet import MultiPoseNet
from mpn.inference.views import Augmentation
from mpn.model_directory import save_networks
from mpn.models.networks import Networks
from mpn.people import SilhouetteMap

DOG, PERSON = 12, 15

# Some of VOC's colours, from the table in its documentation.
COLOURS = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 4: (0, 0, 128), 8: (64, 0, 0), DOG: (64, 0, 128)}
COLOURS |= {PERSON: (192, 128, 128), 20: (0, 64, 128), VOID: (224, 224, 192)}

# A mask of 6 x 4 pixels: a person with a void contour on its right, beside a dog.
CLASSES = np.uint8(
    [
        [15, 15, 255, 0, 12, 12],
        [15, 15, 255, 0, 12, 12],
        [15, 15, 255, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]
)


def write_mask(path, classes, with_palette=True):
    picture = Image.fromarray(classes)
    if with_palette:
        picture.putpalette([channel for index in range(256) for channel in COLOURS.get(index, (1, 2, 3))])
    picture.save(path)


def masks_of(count, seed=0):
    """Masks of several sizes, of blocks of all classes and some void: list of (H, W) uint8."""
    rng = np.random.default_rng(seed)
    small = [rng.choice([0, 1, DOG, PERSON, PERSON, VOID], (3 + index, 5)) for index in range(count)]
    return [np.kron(classes, np.ones((8, 8))).astype(np.uint8) for classes in small]


@pytest.fixture(scope="session")
def voc(tmp_path_factory):
    """A folder in VOC2012's layout, with five images of val and two of test."""
    folder = tmp_path_factory.mktemp("voc") / "VOC2012"
    for name in ("ImageSets/Segmentation", "JPEGImages", "SegmentationClass"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    names = {"val": [f"2007_00000{index}" for index in range(5)], "test": ["2008_000001", "2008_000006"]}
    for split, of_split in names.items():
        (folder / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("".join(name + "\n" for name in of_split))
        for name, classes in zip(of_split, masks_of(len(of_split)), strict=True):
            pixels = rng.integers(0, 256, (*classes.shape, 3), np.uint8)
            write_image(folder / "JPEGImages" / f"{name}.jpg", pixels)
            if split == "val":
                write_mask(folder / "SegmentationClass" / f"{name}.png", classes)
    return folder


@pytest.fixture
def broken(voc, tmp_path):
    """The same folder, in which a test may spoil things."""
    return shutil.copytree(voc, tmp_path / "VOC2012")


# Counting


def person_pixels(classes, found):
    return pixel_counts(classes == PERSON, classes == VOID, found)


def test_pixels_worked_out_by_hand():
    found = np.zeros((4, 6), bool)
    found[1] = True  # two of the person's pixels, one of void, one of background and two of the dog
    assert person_pixels(CLASSES, found) == (2, 2 + 3 + 4, 6)
    assert person_pixels(CLASSES, ~found) == (4, 4 + (24 - 6 - 4 - 2) + 2, 6)
    assert person_pixels(CLASSES, CLASSES == PERSON) == (6, 6, 6)
    assert person_pixels(CLASSES, CLASSES == VOID) == (0, 6, 6)
    assert person_pixels(np.full_like(CLASSES, VOID), found) == (0, 0, 0)
    assert person_pixels(np.zeros_like(CLASSES), found) == (0, 6, 0)


def test_pixels_of_all_images_count_together():
    assert silhouette_metrics([(2, 9, 6), (90, 91, 90), (0, 0, 0)])["IoU"] == pytest.approx(92 / 100)
    assert silhouette_metrics([(0, 0, 0)])["IoU"] == -1


def test_counts_are_those_of_the_development_kit():
    """VOCevalseg: a joint histogram of true and found classes where the true one is below 255."""
    rng = np.random.default_rng(0)
    counts, confusion = [], np.zeros((21, 21), int)
    for classes in masks_of(4, seed=1):
        found = rng.random(classes.shape) < 0.4
        counts.append(person_pixels(classes, found))
        decided = classes < 255
        np.add.at(confusion, (classes[decided], np.where(found, PERSON, 0)[decided]), 1)
    right = confusion[PERSON, PERSON]
    accuracy = right / (confusion[PERSON].sum() + confusion[:, PERSON].sum() - right)
    assert 0 < accuracy < 1 and silhouette_metrics(counts)["IoU"] == pytest.approx(accuracy)


# Masks


def test_masks_with_a_palette_and_grey_ones_are_the_same(tmp_path):
    write_mask(tmp_path / "palette.png", CLASSES)
    write_mask(tmp_path / "grey.png", CLASSES, with_palette=False)
    with Image.open(tmp_path / "palette.png") as one, Image.open(tmp_path / "grey.png") as other:
        assert (one.mode, other.mode) == ("P", "L")
    for name in ("palette.png", "grey.png"):
        classes = read_classes(tmp_path / name, (4, 6))
        assert classes.dtype == np.uint8
        np.testing.assert_array_equal(classes, CLASSES)


def test_palettes_of_few_colours_are_read(tmp_path):
    """As 4-bit PNGs have them."""
    picture = Image.fromarray(np.where(CLASSES == VOID, 0, CLASSES))
    picture.putpalette(bytes(range(48)))
    picture.save(tmp_path / "few.png", bits=4)
    np.testing.assert_array_equal(read_classes(tmp_path / "few.png", (4, 6)), np.where(CLASSES == VOID, 0, CLASSES))


def test_the_palette_is_vocs():
    assert palette().shape == (256, 3) and palette().dtype == np.uint8
    for index, colour in COLOURS.items():
        assert tuple(palette()[index]) == colour
    assert len(np.unique(palette(), axis=0)) == 256


def test_written_masks_are_as_voc_stores_them(tmp_path):
    people = CLASSES == PERSON
    write_person_mask(tmp_path / "mask.png", people)
    assert [file.name for file in tmp_path.iterdir()] == ["mask.png"]
    with Image.open(tmp_path / "mask.png") as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "P", (6, 4))
        assert tuple(picture.getpalette()[3 * PERSON : 3 * PERSON + 3]) == (192, 128, 128)
        np.testing.assert_array_equal(np.unique(np.array(picture)), [0, PERSON])
        np.testing.assert_array_equal(np.array(picture.convert("RGB"))[people], [(192, 128, 128)] * 6)
    np.testing.assert_array_equal(read_classes(tmp_path / "mask.png", (4, 6)) == PERSON, people)


# The script


class SeesPeople:
    """Stands in for a MultiPoseNet whose silhouette channel is given by the image's pixels."""

    config = ModelConfig()
    precision, square, nms_threshold, assignment = "float32", False, 0.3, "greedy"

    def __init__(self, values):
        self.values = values

    def predict(self, image, with_silhouettes=False):
        assert with_silhouettes
        return [], SilhouetteMap(self.values[image.tobytes()], image.shape[:2])


@pytest.fixture
def evaluated(voc, tmp_path, monkeypatch):
    """Function of options that runs the command with a model that sees 0.6 where people are; gives the metrics."""
    values = {}
    for image in load_voc(voc, "val") + load_voc(voc, "test"):
        pixels = read_image(image.image)
        people = read_classes(image.mask, pixels.shape[:2]) == PERSON if image.mask else pixels[..., 0] > 127
        values[pixels.tobytes()] = 0.6 * people.astype(np.float32)

    def run_script(*options, loaded=None):
        def load(model_dir, **given):
            (loaded or {}).update(given, model_dir=model_dir)
            return SeesPeople(values)

        monkeypatch.setattr(MultiPoseNet, "load", load)
        file = tmp_path / "figures" / "metrics.json"
        arguments = [voc, "--output", tmp_path / "out", "--metrics", file, *options]
        assert script.main([str(argument) for argument in arguments]) is None
        return json.loads(file.read_text())

    return run_script


def test_true_masks_are_perfect(evaluated, voc, tmp_path, capsys):
    metrics = evaluated()
    assert metrics["voc"]["person_IoU"] == 1 and metrics["voc"]["images"] == 5
    truth = [read_classes(image.mask, read_image(image.image).shape[:2]) for image in load_voc(voc, "val")]
    assert metrics["settings"]["split"] == "val" and metrics["settings"]["silhouette_threshold"] == 0.5
    assert "person IoU 1.0000 on 5 images" in capsys.readouterr().out
    folder = tmp_path / "out" / "results" / "VOC2012" / "Segmentation" / "comp6_val_cls"
    for image, classes in zip(load_voc(voc, "val"), truth, strict=True):
        written = read_classes(folder / f"{image.name}.png", classes.shape)
        np.testing.assert_array_equal(written, np.where(classes == PERSON, PERSON, 0))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["results"]  # nothing to upload


def test_the_threshold_and_the_number_of_images_are_options(evaluated):
    assert evaluated("--silhouette-threshold", 0.7)["voc"]["person_IoU"] == 0
    metrics = evaluated("--limit", 2)
    assert metrics["voc"]["images"] == 2 and metrics["voc"]["person_IoU"] == 1


def test_options_reach_the_model(evaluated):
    loaded = {"parts": None}
    seen = ("--square", "--scales", "0.5,1", "--mirror", "--crops", 2)
    metrics = evaluated("--model", "mine", "--image-size", 64, 96, "--precision", "float32", *seen, loaded=loaded)
    wanted = {"model_dir": "mine", "image_size": (64, 96), "precision": "float32", "square": True}
    wanted |= {"augmentation": Augmentation((0.5, 1.0), True, 2)}
    # "max" needs no PRN: none is built.
    assert loaded.items() >= {**wanted, "parts": ("keypoints",), "grouping": "max"}.items()
    assert [metrics["settings"][name] for name in ("scales", "mirror", "crops")] == [[0.5, 1], True, 2]


def test_test_masks_are_packed_as_the_server_takes_them(evaluated, voc, tmp_path, capsys):
    folder = tmp_path / "out" / "results" / "VOC2012" / "Segmentation" / "comp6_test_cls"
    folder.mkdir(parents=True)
    (folder / "2009_000099.png").write_bytes(b"of an earlier run")
    metrics = evaluated("--split", "test")
    assert metrics["voc"] == {"images": 2} and metrics["settings"]["split"] == "test"
    archive = tmp_path / "out" / "comp6_test_cls.tar.gz"
    assert str(archive) in capsys.readouterr().out
    names = [f"results/VOC2012/Segmentation/comp6_test_cls/{image.name}.png" for image in load_voc(voc, "test")]
    with tarfile.open(archive, "r:gz") as file:
        assert file.getnames() == names
        file.extractall(tmp_path / "unpacked", filter="data")
    for name, image in zip(names, load_voc(voc, "test"), strict=True):
        pixels = read_image(image.image)
        classes = read_classes(tmp_path / "unpacked" / name, pixels.shape[:2])
        np.testing.assert_array_equal(classes, np.where(pixels[..., 0] > 127, PERSON, 0))


def test_stage_1_alone_is_needed(small_backbone, voc, tmp_path):
    narrow = {"keypoint_channels": 8, "keypoint_head_channels": 8, "person_channels": 8, "person_head_channels": 8}
    networks = Networks(ModelConfig(backbone="mobilenet_v2", width=0.35, image_size=(64, 96), **narrow))
    heatmaps = networks.keypoint_subnet.get_layer("heatmaps")
    heatmaps.kernel.assign(0 * heatmaps.kernel)
    heatmaps.bias.assign(np.ones(18))  # everything is a person
    save_networks(networks, tmp_path / "model", ("keypoints",))
    arguments = [voc, "--model", tmp_path / "model", "--output", tmp_path, "--metrics", tmp_path / "m.json"]
    script.main([str(word) for word in [*arguments, "--precision", "float32"]])
    metrics = json.loads((tmp_path / "m.json").read_text())
    assert metrics["settings"]["image_size"] == [64, 96] and metrics["settings"]["model"] == str(tmp_path / "model")
    truth = [read_classes(image.mask, read_image(image.image).shape[:2]) for image in load_voc(voc, "val")]
    people = sum(int((classes == PERSON).sum()) for classes in truth)
    decided = sum(int((classes != VOID).sum()) for classes in truth)
    assert metrics["voc"]["person_IoU"] == pytest.approx(people / decided)


# Mistakes


def error_of(capsys, *arguments):
    """The sentence on stderr of the command."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        run(script.main, [str(argument) for argument in arguments])
    error = capsys.readouterr().err
    assert stopped.value.code == 1
    sentence = error.strip().splitlines()[-1]
    assert sentence.startswith("error: ") and "Traceback" not in error
    return sentence


def spoil_list(text):
    def spoil(folder):
        (folder / "ImageSets" / "Segmentation" / "val.txt").write_bytes(text)

    return spoil


def spoil_mask(write):
    def spoil(folder):
        write(folder / "SegmentationClass" / "2007_000002.png")

    return spoil


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "ImageSets" / "Segmentation" / "val.txt").unlink(), "val.txt does not exist"),
        (spoil_list(b""), "val.txt' is empty"),
        (spoil_list(b" \n\n"), "val.txt' is empty"),
        (spoil_list(b"2007_000002\n2007_000002\n"), "2007_000002 twice"),
        (spoil_list(b"/JPEGImages/2007_000002.jpg /SegmentationClassAug/2007_000002.png\n"), "one name a line"),
        (spoil_list(b"2007_00000\xff\n"), "not plain text"),
        (lambda folder: (folder / "JPEGImages" / "2007_000002.jpg").unlink(), "2007_000002.jpg"),
        (spoil_list(b"2007_000002\n2009_1\n2009_2\n"), "2 of 3 images"),
        (spoil_mask(lambda path: path.unlink()), "1 of 5 masks"),
    ],
)
def test_what_is_missing_is_named_before_the_model_is_loaded(broken, tmp_path, capsys, spoil, words):
    spoil(broken)
    assert words in error_of(capsys, broken, "--model", "nowhere", "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_mask(lambda path: path.write_bytes(b"")), "damaged"),
        (spoil_mask(lambda path: path.write_bytes(path.read_bytes()[:60])), "damaged"),
        (spoil_mask(lambda path: write_mask(path, CLASSES)), "6 x 4 pixels and its image 40 x 40"),
        (spoil_mask(lambda path: Image.open(path).convert("RGB").save(path)), "mode RGB"),
        (spoil_mask(lambda path: Image.open(path).convert("L").save(path)), "colours were turned into grey"),
        (lambda folder: (folder / "JPEGImages" / "2007_000002.jpg").write_bytes(b"\xff\xd8"), "2007_000002.jpg"),
    ],
)
def test_damaged_files_are_named(broken, tmp_path, capsys, monkeypatch, spoil, words):
    spoil(broken)

    class SeesNobody(SeesPeople):
        def predict(self, image, with_silhouettes=False):
            return [], SilhouetteMap(np.zeros((2, 2), np.float32), image.shape[:2])

    monkeypatch.setattr(MultiPoseNet, "load", lambda *_, **__: SeesNobody({}))
    sentence = error_of(capsys, broken, "--output", tmp_path / "out")
    assert words in sentence and "2007_000002" in sentence


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["nowhere"], "nowhere does not exist"),
        (["nowhere", "--split", "test"], "nowhere does not exist"),
        (["."], "val.txt does not exist: it must be the folder VOC2012"),
        ([""], "val.txt does not exist"),
    ],
)
def test_mistakes_on_the_command_line(tmp_path, capsys, monkeypatch, more, words):
    monkeypatch.chdir(tmp_path)
    assert words in error_of(capsys, *more)
    assert not list(tmp_path.iterdir())


def test_classes_of_a_missing_file(tmp_path):
    with pytest.raises(UserError, match="mask .*none.png' does not exist"):
        read_classes(tmp_path / "none.png", (4, 6))
