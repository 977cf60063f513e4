"""README.md of an export: what goes in, what comes out, and code that runs it, which a test executes."""

import pathlib

_TEMPLATES = pathlib.Path(__file__).parent / "templates"


def write_readme(folder, config, note):
    """Writes README.md into the folder of an export, of a ModelConfig and an ExportNote."""
    words = {
        "RUN": (_TEMPLATES / f"run_{note.format}.py").read_text(),
        "SHORTER": config.image_size[0],
        "LONGEST": config.image_size[1],
        "CELLS": config.image_size[0] // 4,
        "SHARE": config.refiner_share,
        "FORMAT": note.format,
    }
    page = (_TEMPLATES / ("refiner.md" if note.refiner else "model.md")).read_text()
    for word, text in words.items():
        page = page.replace(word, str(text))
    (pathlib.Path(folder) / "README.md").write_text(page, encoding="utf-8")
