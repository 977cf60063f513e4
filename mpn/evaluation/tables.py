"""Tables in Markdown, as the README shows them, and in CSV files."""

import csv

from mpn.files import atomic_path


def markdown(header, rows):
    """A Markdown table, str; floats are shares and print as in the paper, .894, and those below 0 as a dash."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def write_csv(path, header, rows):
    """Writes a table as CSV, atomically; the folder must exist.

    Args:
        path: the file to make or replace.
        header: names of the columns.
        rows: iterable of lists; floats are written with six decimals, and None as an empty cell.
    """
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([f"{value:.6f}" if isinstance(value, float) else value for value in row] for row in rows)


def as_share(value, digits=3, signed=False):
    """A share as the paper prints it, .894; signed, as a difference of two: +.012."""
    value = round(value, digits) + 0.0  # not -0
    return f"{value:{'+' if signed else ''}.{digits}f}".replace("0.", ".", 1)


def _cell(value):
    if isinstance(value, float):
        return as_share(value) if value >= 0 else "-"
    return str(value)
