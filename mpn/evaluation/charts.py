"""What all charts share. matplotlib is imported where a chart is made, since most runs make none.

Its pyplot is left out: it keeps a list of all figures and looks for a display.
"""

from mpn.files import atomic_path

# RGB hexadecimal, for what is neither a curve nor a bar.
INK, FAINT = "#222222", "#d8d8d8"


def new_figure(width, height):
    """An empty matplotlib Figure of so many inches, with 130 pixels an inch."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=130, layout="constrained", facecolor="white")


def plain(axes, grid="both"):
    """Takes the frame off matplotlib Axes and draws faint lines behind the data, along `grid`: "x", "y" or "both"."""
    for side in axes.spines.values():
        side.set_visible(False)
    axes.grid(axis=grid, color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=INK)


def save(figure, path):
    """Writes a Figure as a PNG, atomically; the folder must exist."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
