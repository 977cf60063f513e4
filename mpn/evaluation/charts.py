"""The parts that all charts share.

matplotlib is imported where a chart is made, since most runs make none. pyplot is not used: it keeps all figures and
looks for a display.
"""

from mpn.files import atomic_path

# The colours of text and of grid lines.
INK, FAINT = "#222222", "#d8d8d8"


def new_figure(width, height):
    """An empty matplotlib Figure, sized in inches of 130 pixels."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=130, layout="constrained", facecolor="white")


def plain(axes, grid="both"):
    """Removes the frame of matplotlib Axes and draws faint lines behind the data, along "x", "y" or "both"."""
    for side in axes.spines.values():
        side.set_visible(False)
    axes.grid(axis=grid, color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=INK)


def save(figure, path):
    """Writes a Figure as a PNG, atomically; the folder must exist."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
