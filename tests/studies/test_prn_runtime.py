"""The table of PRNs: sizes, times of models that take turns, AP of grouping."""

import numpy as np
import pytest

from mpn.config import ModelConfig
from mpn.data.coco import annotation_file
from mpn.errors import UserError
from mpn.evaluation.runtime import medians
from mpn.model_directory import save_networks
from mpn.models.networks import Networks
from mpn.studies import prn_runtime

TINY = ModelConfig(backbone="mobilenet_v2", width=0.35, prn_nodes=8, prn_pool=4)


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prn_runtime") / "tiny"
    save_networks(Networks(TINY), folder, ("prn",))
    return folder


def test_a_row_has_size_times_and_quality(model_dir, synthetic_coco, capsys):
    path = annotation_file(synthetic_coco, "val")
    arguments = ["--model", model_dir, "--model", model_dir, "--people", 1, 3, "--repeats", 2, "--annotations", path]
    prn_runtime.main([str(word) for word in arguments])
    head, ruler, *rows = [
        line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("|")
    ]
    assert head == [
        *("PRN", "parameters", "MB float32", "MB float16"),
        *("ms float32, 1 person", "ms float32, 3 people", "ms bfloat16, 1 person", "ms bfloat16, 3 people"),
        *("AP float32", "AP bfloat16"),
    ]
    assert len(ruler) == len(head) and len(rows) == 2
    cells = 14 * 9 * 17
    parameters = cells * 8 + 8 + 8 * cells + cells
    for row in rows:
        assert row[:2] == [str(model_dir), f"{parameters:,}"]
        numbers = np.array([float(cell) for cell in row[2:]])
        np.testing.assert_allclose(numbers[0], 4 * parameters / 1e6, atol=0.005)
        np.testing.assert_allclose(numbers[1], (2 * parameters + 2 * (8 + cells)) / 1e6, atol=0.005)
        assert (numbers[2:6] > 0).all()
        assert ((numbers[6:] >= 0) & (numbers[6:] <= 1)).all()


def test_without_annotations_there_is_no_quality(model_dir):
    (row,) = prn_runtime.measure([model_dir], [2], repeats=1)
    sizes = ["PRN", "parameters", "MB float32", "MB float16"]
    assert list(row) == [*sizes, "ms float32, 2 people", "ms bfloat16, 2 people"]


def test_models_take_turns():
    order = []
    times = medians({name: lambda name=name: order.append(name) for name in "ab"}, 3)
    assert order == list("ab" * 4) and set(times) == {"a", "b"}


@pytest.mark.parametrize("model, file", [("nowhere", None), (None, "nothing.json")])
def test_what_does_not_exist_is_named(model_dir, tmp_path, model, file):
    with pytest.raises(UserError, match=model or file):
        prn_runtime.measure([tmp_path / model if model else model_dir], [1], 1, file and tmp_path / file)
