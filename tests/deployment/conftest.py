import keras
import pytest
from exports import needs
from tiny_networks import NARROW, sees_something

import mpn.export
from mpn.model_directory import save_networks
from mpn.models.networks import Networks

TINY = NARROW.replace(prn_pool=4, prn_residual_gain=True, prn_assignment="optimal")


@pytest.fixture(scope="module", autouse=True)
def backbones(small_backbone):
    """Exports are about the graphs, not about the backbone; modules may override this."""


@pytest.fixture(scope="module")
def source(backbones, tmp_path_factory):
    """Model directory of a tiny model."""
    keras.utils.set_random_seed(0)  # some weights have boxes that overlap by nearly the NMS threshold
    folder = tmp_path_factory.mktemp("source") / "tiny"
    save_networks(sees_something(Networks(TINY)), folder, storage="float16")  # as OpenVINO's files have them
    return folder


@pytest.fixture(scope="module")
def refiner_source(backbones, tmp_path_factory):
    """Model directory of a tiny refinement network."""
    folder = tmp_path_factory.mktemp("source") / "refiner"
    networks = Networks(TINY.replace(image_size=(64, 64), refiner_share=0.75))
    save_networks(sees_something(networks), folder, ("keypoints",), "float16")
    return folder


@pytest.fixture(scope="module")
def export(request, tmp_path_factory):
    """Function of a format giving the export of the tiny model, or refinement network, in it; made once."""
    made = {}

    def make(format, refiner=False):
        needs(format)
        if (format, refiner) not in made:
            source = request.getfixturevalue("refiner_source" if refiner else "source")
            target = tmp_path_factory.mktemp("exports") / format
            mpn.export.main([str(source), str(target), "--format", format])
            made[format, refiner] = target
        return made[format, refiner]

    return make
