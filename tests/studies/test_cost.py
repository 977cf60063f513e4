"""Multiply-adds worked out by hand on small models, against published figures, and the table of blocks."""

import keras
import pytest
from keras import layers
from tiny_networks import NARROW

from mpn.model_directory import save_config
from mpn.models.backbone import build_backbone
from mpn.models.networks import Networks
from mpn.models.person import BACKBONE_LEVELS
from mpn.models.prn import build_prn
from mpn.studies import cost
from mpn.studies.cost import multiply_adds

BACKBONE = "backbone (mobilenet_v2)"


@pytest.fixture(scope="module")
def table(small_backbone):
    """What the blocks cost at 64 x 96 pixels."""
    return cost.cost_table(NARROW, 64, 96)


def image(height, width, channels=3):
    return keras.Input((height, width, channels), batch_size=1)


def chain(*stack, shape=(None, None, 3)):
    inputs = outputs = keras.Input(shape)
    for layer in stack:
        outputs = layer(outputs)
    return keras.Model(inputs, outputs)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (layers.Conv2D(5, 3, padding="same"), 6 * 8 * 3 * 3 * 4 * 5),
        (layers.Conv2D(5, 3), 4 * 6 * 3 * 3 * 4 * 5),
        (layers.Conv2D(5, 1, strides=2), 3 * 4 * 4 * 5),
        (layers.Conv2D(5, 3, padding="same", dilation_rate=2), 6 * 8 * 3 * 3 * 4 * 5),
        (layers.DepthwiseConv2D(3, padding="same"), 6 * 8 * 3 * 3 * 4),
        (layers.DepthwiseConv2D((3, 1), strides=2, padding="same"), 3 * 4 * 3 * 4),
        (layers.Dense(7), 6 * 8 * 4 * 7),  # at each pixel
        (layers.BatchNormalization(), 0),
        (layers.UpSampling2D(2), 0),
    ],
)
def test_a_layer_worked_out_by_hand(layer, expected):
    assert multiply_adds(chain(layer, shape=(None, None, 4)), image(6, 8, 4)) == expected


def test_layers_see_the_sizes_of_those_before_them():
    model = chain(
        layers.Conv2D(2, 3, strides=2, padding="same"),  # 3 x 4 places
        layers.UpSampling2D(2),
        layers.Conv2D(3, 1),  # 6 x 8 again
        layers.GlobalAveragePooling2D(),
        layers.Dense(10),
    )
    assert multiply_adds(model, image(6, 8)) == 3 * 4 * 9 * 3 * 2 + 6 * 8 * 2 * 3 + 3 * 10
    # Counting leaves the model as it was, and another size costs another number.
    assert multiply_adds(model, image(12, 8)) == 2 * (3 * 4 * 9 * 3 * 2 + 6 * 8 * 2 * 3) + 3 * 10


def test_a_model_inside_counts_as_often_as_it_is_called():
    head = chain(layers.Conv2D(4, 1), shape=(None, None, 2))
    fine, coarse = keras.Input((None, None, 2), name="fine"), keras.Input((None, None, 2), name="coarse")
    model = keras.Model({"fine": fine, "coarse": coarse}, [head(fine), head(coarse)])
    inputs = {"fine": image(8, 8, 2), "coarse": image(4, 4, 2)}
    assert multiply_adds(model, inputs) == (8 * 8 + 4 * 4) * 2 * 4


def test_kernels_of_unknown_cost_are_refused():
    with pytest.raises(ValueError, match="Conv2DBackpropInput"):
        multiply_adds(chain(layers.Conv2DTranspose(2, 2)), image(4, 4))
    with pytest.raises(ValueError, match="sizes must be known"):
        multiply_adds(chain(layers.Conv2D(2, 2)), keras.Input((None, None, 3), batch_size=1))


@pytest.mark.parametrize(
    ("build", "published"),
    [
        # He et al. count 3.8e9 with the top, which has 2048 x 1000; Sandler et al. 300 M, with 1280 x 1000.
        (lambda: build_backbone("resnet50"), 3_857_973_248 - 2048 * 1000),
        (lambda: build_backbone("mobilenet_v2"), 300_774_272 - 1280 * 1000),
    ],
)
def test_backbones_cost_what_is_published(build, published):
    assert multiply_adds(build(), image(224, 224)) == published


def test_the_prn_costs_its_two_matrices():
    cells = 56 * 36 * 17
    assert multiply_adds(build_prn(nodes=16), image(56, 36, 17)) == 2 * 16 * cells
    assert multiply_adds(build_prn(nodes=16, layers=2, pool=4), image(56, 36, 17)) == 2 * 16 * cells // 16 + 16**2


def test_the_person_subnet_worked_out_by_hand(table):
    """64 x 96 pixels: P3-P7 have 8 x 12, 4 x 6, 2 x 3, 1 x 2 and 1 x 1 cells, and each head runs on all of them."""
    c3, c4, c5 = (Networks(NARROW).backbone.output[level].shape[-1] for level in BACKBONE_LEVELS)
    p3, p4, p5, p6, p7 = 8 * 12, 4 * 6, 2 * 3, 1 * 2, 1 * 1
    pyramid = 8 * (p3 * c3 + p4 * c4 + p5 * c5) + 9 * 8 * 8 * (p3 + p4 + p5) + 9 * 8 * (c5 * p6 + 8 * p7)
    heads = (p3 + p4 + p5 + p6 + p7) * 9 * (2 * 4 * 8 * 8 + 8 * 9 * (4 + 1))
    assert table["person subnet"].multiply_adds == pyramid + heads


def test_the_table_adds_up(table):
    *blocks, total = table.values()
    assert list(table) == [BACKBONE, "keypoint subnet", "person subnet", "pose residual network", "total"]
    assert total.parameters == sum(cost.parameters for cost in blocks)
    assert total.multiply_adds == sum(cost.multiply_adds for cost in blocks)
    networks = Networks(NARROW)
    assert table["pose residual network"].parameters == networks.prn.count_params()
    assert table["keypoint subnet"].parameters == networks.keypoint_subnet.count_params()


def test_twice_the_area_costs_twice_as_much_but_for_the_prn(table):
    unsupervised = NARROW.replace(intermediate_supervision=False)
    larger = cost.cost_table(unsupervised, 128, 96)
    # The outputs that training supervises cost parameters, and nothing at inference.
    assert larger["keypoint subnet"].parameters < table["keypoint subnet"].parameters
    for name in (BACKBONE, "keypoint subnet"):
        assert larger[name].multiply_adds == 2 * table[name].multiply_adds
    assert larger["pose residual network"] == table["pose residual network"]


def test_the_script_prints_a_model_directory(table, tmp_path, capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(cost, "cost_table", lambda *arguments: asked.append(arguments) or table)
    save_config(NARROW, tmp_path / "model")
    cost.main(["--model", str(tmp_path / "model"), "--image-size", "60", "90"])
    assert asked == [(NARROW, 64, 96)]
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["64", "x", "96", "pixels,", "one", "person", "parameters", "multiply-adds"]
    assert [tuple(row.rsplit(None, 2)) for row in rows] == [
        (name, f"{cost.parameters:,}", f"{cost.multiply_adds:,}") for name, cost in table.items()
    ]
