"""The notebook of the documentation runs from top to bottom."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_tour_runs(tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat", reason="nbclient is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    notebook = nbformat.read(ROOT / "docs" / "tour.ipynb", as_version=4)
    for name, value in {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    nbclient.NotebookClient(notebook, timeout=1200, resources={"metadata": {"path": str(tmp_path)}}).execute()
    texts = ["".join(_texts(cell)) for cell in notebook.cells]
    assert any("nose" in text and "left_ankle" in text for text in texts)
    assert any(text == "[1, 1, 0]" for text in texts), "astronauts and a cat"
    assert sum(text.count("nose at") for text in texts) == 5
    metrics = next(text for text in texts if "8 images of train" in text)
    precisions = [float(word) for word in metrics.rpartition("(")[2].rstrip(")").split(",")]
    assert len(precisions) == 2 and all(0 <= precision <= 1 for precision in precisions)
    assert os.listdir(tmp_path) == []


def _texts(cell):
    """What a cell printed, and its value."""
    for output in cell.get("outputs", ()):
        yield output.get("text") or output.get("data", {}).get("text/plain", "")
