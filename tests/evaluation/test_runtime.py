"""Runtime analysis: what is timed is what a prediction does, and the table, file and chart show what was timed."""

import csv

import keras
import numpy as np
import pytest
from runs import assert_one_sentence, exit_of
from tiny_networks import NARROW, sees_something

from mpn.evaluation import runtime
from mpn.evaluation.runtime import PEOPLE, STAGES, WHOLE, crowd, halves_of_grouping, stage_times
from mpn.images import read_image, write_image
from mpn.inference.multiposenet import MultiPoseNet
from mpn.models.networks import Networks


@pytest.fixture(scope="module")
def model(small_backbone):
    """An untrained model whose heads find something in every image."""
    keras.utils.set_random_seed(0)
    networks = Networks(NARROW)
    return MultiPoseNet(sees_something(networks), precision="float32")


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "photo.png"
    write_image(path, np.random.default_rng(1).integers(0, 256, (80, 100, 3), np.uint8))
    return path


@pytest.fixture(scope="module")
def model_dir(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runtime") / "tiny"
    model.save(folder)
    return folder


# What is timed


def peaks_in(model, image, heatmaps=None):
    """What the graph of peaks and NMS finds in what the network gives, or in other heatmaps."""
    inputs, scale = model.prepare(image)
    outputs = model.forward_graph(*inputs)
    heatmaps = outputs["heatmaps"] if heatmaps is None else heatmaps
    return model.peaks_and_boxes({**outputs, "heatmaps": heatmaps}, *inputs), scale


def test_peaks_and_nms_find_what_the_model_finds(model, photo):
    found = model.detect(read_image(photo))
    raw, scale = peaks_in(model, read_image(photo))
    assert len(found.boxes) > 0
    np.testing.assert_allclose(raw["boxes"] / np.tile(scale, 2), found.boxes, atol=1e-2)
    np.testing.assert_allclose(raw["peaks"] / scale, found.peaks, atol=1e-2)


def test_peaks_and_nms_run_no_network(model, photo):
    for heatmaps in (np.zeros((1, 24, 32, 18), np.float32), np.ones((1, 8, 8, 18), np.float32)):
        raw, _ = peaks_in(model, read_image(photo), heatmaps)
        assert raw["peak_scores"].any() == heatmaps.any() and len(raw["boxes"]) > 0
        assert raw["silhouette"].shape == heatmaps.shape[1:3]


def test_the_halves_of_grouping_are_the_prn_and_the_rest(model):
    given = crowd(4, (80, 100), 30)
    graph, calls = model._group_graph, []
    model._group_graph = lambda *inputs: calls.append(1) or graph(*inputs)
    try:
        prn, rest = halves_of_grouping(model, given)
        assert len(calls) == 1
        people = rest()
        assert len(calls) == 1
        assert prn()["candidates"].shape == (4, 17, 30) and len(calls) == 2
    finally:
        model._group_graph = graph
    for person, other in zip(people, model.group(given), strict=True):
        np.testing.assert_array_equal(person.keypoints, other.keypoints)


def test_a_crowd_has_the_networks_number_of_peaks():
    found = crowd(3, (96, 128), 30)
    assert found.boxes.shape == (3, 4) and found.peaks.shape == (17, 30, 2) and found.peak_scores.shape == (17, 30)
    assert (found.peak_scores.sum(axis=1) == 3).all()
    np.testing.assert_array_equal(found.peaks[:, :3], crowd(3, (96, 128)).peaks)
    assert crowd(40, (96, 128), 30).peaks.shape == (17, 40, 2)


def test_times_go_to_their_stages_and_images_are_averaged(model, photo, monkeypatch):
    image = np.random.default_rng(2).integers(0, 256, (100, 50, 3), np.uint8)
    write_image(photo.with_name("other.png"), image)
    calls = []

    def medians(stages, repeats):
        for stage in stages.values():
            stage()
        calls.append((list(stages), repeats))
        return {name: 10**index * len(calls) for index, name in enumerate(stages)}

    monkeypatch.setattr(runtime, "medians", medians)
    images = {path: path.read_bytes() for path in (photo, photo.with_name("other.png"))}
    times = stage_times(model, images, people=[1, 3], repeats=7)
    names, repeats = calls[0]
    assert repeats == 7 and len(calls) == 2
    assert names == [*STAGES[:3], *((stage, count) for count in (1, 3) for stage in ("PRN", "grouping", WHOLE))]
    assert list(times) == [1, 3]
    mean = 1.5
    assert times[1] == dict(zip((*STAGES, WHOLE), [mean * 10**i for i in (0, 1, 2, 3, 4, 5)], strict=True))
    assert times[3] == dict(zip((*STAGES, WHOLE), [mean * 10**i for i in (0, 1, 2, 6, 7, 8)], strict=True))


def test_real_times_are_positive(model, photo):
    times = stage_times(model, {"photo": photo.read_bytes()}, people=[2], repeats=2)[2]
    assert set(times) == {*STAGES, WHOLE} and all(seconds > 0 for seconds in times.values())


# What is shown

TIMES = {
    "float32": {5: dict(zip((*STAGES, WHOLE), (0.004, 0.5, 0.005, 0.02, 0.001, 0.525), strict=True))},
    "bfloat16": {5: dict(zip((*STAGES, WHOLE), (0.004, 0.1, 0.005, 0.01, 0.001, 0.125), strict=True))},
}
TIMES["float32"][1] = {**TIMES["float32"][5], "PRN": 0.01, WHOLE: 0.5}
TIMES["bfloat16"][1] = {**TIMES["bfloat16"][5], "PRN": 0.005, WHOLE: 0.1}


def test_the_report_is_a_table_a_file_and_a_chart(tmp_path, capsys):
    runtime.report(TIMES, tmp_path)
    table = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert table[0] == ["precision", "people", *STAGES, WHOLE, "images a second"]
    assert table[2] == ["float32", "5", "4.0", "500.0", "5.0", "20.0", "1.0", "525.0", "1.9"]
    assert table[5] == ["bfloat16", "1", "4.0", "100.0", "5.0", "5.0", "1.0", "100.0", "10.0"]
    with open(tmp_path / "runtime.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    assert list(rows[0]) == [
        *("precision", "people", "decode_and_resize_ms", "backbone_and_subnets_ms", "peaks_and_NMS_ms"),
        *("PRN_ms", "grouping_ms", "whole_image_ms"),
    ]
    assert [float(rows[1][name]) for name in ("people", "PRN_ms", "whole_image_ms")] == [1, 10, 500]
    assert read_image(tmp_path / "runtime.png").std() > 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runtime.csv", "runtime.png"]


def test_the_chart_stacks_the_stages():
    figure = runtime.draw_times(TIMES)
    for axes, precision in zip(figure.axes, TIMES, strict=True):
        assert precision in axes.get_title()
        (line,) = axes.lines
        assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "5"]  # whatever the order of measuring
        np.testing.assert_allclose(line.get_ydata(), [1000 * TIMES[precision][count][WHOLE] for count in (1, 5)])
        bottom = np.zeros(2)
        for bars, stage in zip(axes.containers, STAGES, strict=True):
            heights = [1000 * TIMES[precision][count][stage] for count in (1, 5)]
            np.testing.assert_allclose(
                [(bar.get_y(), bar.get_height()) for bar in bars], np.transpose([bottom, heights])
            )
            bottom = bottom + heights
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim() and figure.axes[0].get_ylim()[1] > 530
    assert [text.get_text() for text in figure.legends[0].get_texts()][1:] == list(STAGES)


@pytest.mark.parametrize("count", [1, 2])
def test_the_chart_has_room_for_its_legend(count):
    figure = runtime.draw_times(dict(list(TIMES.items())[:count]))
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert figure.bbox.containsx(legend.get_window_extent().x0) and figure.bbox.containsx(legend.get_window_extent().x1)


def test_one_number_of_people_makes_a_chart_too():
    figure = runtime.draw_times({"float32": {3: TIMES["float32"][5]}})
    assert [len(bars) for bars in figure.axes[0].containers] == [1] * len(STAGES)


# The command


def test_the_command_times_one_precision(model_dir, photo, tmp_path, monkeypatch, capsys):
    seen = {}

    def times_of(model, images, people, repeats):
        seen.update(config=model.config, precision=model.precision, images=images, people=people, repeats=repeats)
        return TIMES["float32"]

    monkeypatch.setattr(runtime, "stage_times", times_of)
    arguments = [photo, "--model", model_dir, "--output", tmp_path / "new", "--image-size", 96, 128]
    runtime.main([str(word) for word in [*arguments, "--precision", "float32"]])
    assert seen["config"].image_size == (96, 128) and seen["precision"] == "float32"
    assert seen["images"] == {str(photo): photo.read_bytes()}
    assert seen["people"] == list(PEOPLE) and seen["repeats"] == 20
    assert (tmp_path / "new" / "runtime.png").exists() and (tmp_path / "new" / "runtime.csv").exists()
    out = capsys.readouterr().out
    assert "| float32 | 5 |" in out and "bfloat16" not in out


def test_both_precisions_are_timed(model_dir, photo, tmp_path, monkeypatch):
    asked = []

    def times_of(model, images, people, repeats):
        asked.append((model.precision, people, repeats))
        return TIMES[model.precision]

    monkeypatch.setattr(runtime, "stage_times", times_of)
    arguments = [photo, "--model", model_dir, "--people", 2, 1, 2, "--repeats", 1, "--output", tmp_path]
    runtime.main([str(word) for word in arguments])
    assert asked == [("float32", [2, 1], 1), ("bfloat16", [2, 1], 1)]
    with open(tmp_path / "runtime.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["precision"], row["people"]) for row in rows] == [
        *(("float32", "5"), ("float32", "1"), ("bfloat16", "5"), ("bfloat16", "1"))
    ]


def test_the_numbers_of_people_that_the_paper_names_are_timed():
    assert {1, 3, 20} <= set(PEOPLE) and list(PEOPLE) == sorted(PEOPLE)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["nowhere.jpg"], "nowhere.jpg"),
        ([__file__, "--model", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, capsys, monkeypatch, more, words):
    monkeypatch.chdir(tmp_path)
    code, error = exit_of(runtime, more, capsys)
    assert code == 1 and words in error
    assert_one_sentence(error)
    assert not list(tmp_path.iterdir())


def test_a_damaged_image_is_named_before_anything_is_timed(model_dir, photo, tmp_path, capsys, monkeypatch):
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    monkeypatch.setattr(runtime, "medians", None)
    arguments = [photo, tmp_path / "bad.jpg", "--model", model_dir, "--precision", "float32"]
    code, error = exit_of(runtime, arguments, capsys)
    assert code == 1 and "bad.jpg" in error
    assert_one_sentence(error)
