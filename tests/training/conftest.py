import pytest


@pytest.fixture(scope="module", autouse=True)
def always_small(small_backbone):
    """Training tests are about the loop, not about the backbone."""
