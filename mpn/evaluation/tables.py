"""Tables in Markdown, as the README shows them."""


def markdown(header, rows):
    """A Markdown table.

    Args:
        header: list of str.
        rows: list of lists; floats are shares and print as in the paper, .894.

    Returns:
        str of several lines.
    """
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(value):
    if isinstance(value, float):
        return f"{value:.3f}".removeprefix("0") if value >= 0 else "-"
    return str(value)
