"""Exports as TensorFlow Lite: what is special about a fixed image size."""

import json

import numpy as np
import pytest
from exports import picture

import mpn.export
from mpn.errors import UserError
from mpn.inference.exported_model import ExportedModel
from mpn.inference.views import Augmentation


@pytest.mark.parametrize(("height", "width", "scale"), [(48, 80, 2), (320, 160, 0.3), (120, 320, 0.5), (10, 10, 9.6)])
def test_images_of_any_size_are_fitted(export, height, width, scale):
    """As large as 96 x 160 pixels allow, at the top left."""
    model = ExportedModel(export("tflite"))
    image = np.full((height, width, 3), 200, np.uint8)
    (images, size), found = model.prepare(image)
    assert images.shape == (1, 96, 160, 3)
    np.testing.assert_allclose(found, scale, atol=1e-6)
    np.testing.assert_allclose(size, [width * scale, height * scale], atol=1e-3)
    rows, columns = round(height * scale), round(width * scale)
    assert (images[0, :rows, :columns] == 200).all() and images.sum() == 600 * rows * columns
    limits = np.array([width, height])
    for person in model.predict(picture(height, width)):
        assert (person.box[2:] <= limits + 1e-3).all()


def test_size_is_chosen(source, tmp_path):
    pytest.importorskip("ai_edge_litert", reason="the extra of tflite is not installed: ai_edge_litert")
    mpn.export.main([str(source), str(tmp_path / "e"), "--format", "tflite", "--size", "160", "64"])
    model = ExportedModel(tmp_path / "e")
    assert model.config.image_size == (64, 160) and model.predict(picture(100, 40))
    assert json.loads((tmp_path / "e" / "export.json").read_text())["size"] == [160, 64]
    assert "H 160, W 64" in (tmp_path / "e" / "README.md").read_text()


@pytest.mark.parametrize(
    "options", [{"image_size": (64, 96)}, {"square": True}, {"augmentation": Augmentation(scales=(1.0, 2.0))}]
)
def test_other_sizes_are_refused(export, options):
    with pytest.raises(UserError, match="only sees 160 x 96 pixels"):
        ExportedModel(export("tflite"), **options)
