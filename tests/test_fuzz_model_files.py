"""Hundreds of damaged model directories; see `fuzz.model_files`."""

import pytest
from fuzz import model_files


@pytest.mark.slow
def test_damaged_models_are_refused_or_load():
    assert model_files.run(300, seed=0) == []
