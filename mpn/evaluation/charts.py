"""Charts with matplotlib: what those of `mpn.evaluation` share.

matplotlib is imported where a chart is made, since most runs make none. Figures are made without its pyplot: that keeps
a list of all figures and looks for a display.
"""

from mpn.files import atomic_path

PIXELS_PER_INCH = 130

# RGB hexadecimal, for what is neither a curve nor a bar.
INK, FAINT = "#222222", "#d8d8d8"


def new_figure(width, height):
    """An empty matplotlib Figure.

    Args:
        width, height: inches, of PIXELS_PER_INCH pixels.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=PIXELS_PER_INCH, layout="constrained", facecolor="white")


def plain(axes, grid="both"):
    """Axes without frame, with faint lines behind what is drawn.

    Args:
        axes: matplotlib Axes, changed in place.
        grid: "x", "y" or "both".
    """
    for side in axes.spines.values():
        side.set_visible(False)
    axes.grid(axis=grid, color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=INK)


def save(figure, path):
    """Writes a Figure atomically.

    Args:
        figure: matplotlib Figure.
        path: the PNG to make or replace; its folder must exist.

    Raises:
        OSError: the file cannot be written.
    """
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
