"""Tables in Markdown and CSV."""

import csv

from mpn.files import atomic_path


def markdown(header, rows):
    """A Markdown table. Floats are shares and print as in the paper, .894; those below 0 become a dash."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def write_csv(path, header, rows):
    """Writes a CSV atomically into an existing folder: floats with six decimals, None as an empty cell."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([f"{value:.6f}" if isinstance(value, float) else value for value in row] for row in rows)


def as_share(value, digits=3, signed=False):
    """A share as the paper prints it, .894; with its sign where `signed`, +.012."""
    value = round(value, digits) + 0.0  # not -0
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    return text.replace("0.", ".", 1) if abs(value) < 1 else text


def _cell(value):
    if isinstance(value, float):
        return as_share(value) if value >= 0 else "-"
    return str(value)
