"""README.md of an export: what goes in, what comes out, and code that runs it, which a test executes."""

import pathlib

_TEMPLATES = pathlib.Path(__file__).parent / "templates"


def write_readme(folder, config, note):
    """Writes README.md into the folder of an export.

    Args:
        folder: path.
        config: ModelConfig.
        note: ExportNote.
    """
    padding, pixels = "((0, -height % 32), (0, -width % 32), (0, 0))", "H and W multiples of 32"
    if note.input_size:
        height, width = note.input_size
        padding, pixels = f"((0, {height} - height), (0, {width} - width), (0, 0))", f"H = {height} and W = {width}"
    words = {
        "RUN": (_TEMPLATES / f"run_{note.format}.py").read_text(),
        "PIXELS": pixels,
        "MANY": ", one at a time" if note.input_size else "",
        "CROPS": "N = 1" if note.input_size else "any N",
        "PADDING": padding,
        "SHORTER": config.image_size[0],
        "LONGEST": config.image_size[1],
        "CELLS": config.image_size[0] // 4,
        "SHARE": config.refiner_share,
        "FORMAT": note.format,
        "PRECISION": note.precision,
    }
    page = (_TEMPLATES / ("refiner.md" if note.refiner else "model.md")).read_text()
    for word, text in words.items():
        page = page.replace(word, str(text))
    (pathlib.Path(folder) / "README.md").write_text(page, encoding="utf-8")
