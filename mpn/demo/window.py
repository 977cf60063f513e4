"""A window for drawings."""

import os
import subprocess
import sys

import cv2

_ESCAPE = 27


class Window:
    """A window on the screen; `is_open` is False once the user has pressed q or Esc or closed it."""

    def __init__(self, title):
        self._name = title
        self.is_open = True
        cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)

    def show(self, drawing, wait=False, title=None):
        """Shows an (H, W, 3) uint8 RGB drawing; `wait` waits for a key."""
        if not self.is_open:
            return
        cv2.imshow(self._name, cv2.cvtColor(drawing, cv2.COLOR_RGB2BGR))
        if title:
            cv2.setWindowTitle(self._name, title)
        key = cv2.waitKey(1)
        while wait and key < 0 and self._is_visible():
            key = cv2.waitKey(50)  # a closed window would never end waitKey(0)
        if not self._is_visible() or key >= 0 and key & 0xFF in (ord("q"), _ESCAPE):
            self.close()

    def close(self):
        if self.is_open:
            self.is_open = False
            cv2.destroyAllWindows()

    def _is_visible(self):
        return cv2.getWindowProperty(self._name, cv2.WND_PROP_VISIBLE) >= 1


def open_window(title):
    """Opens a Window; None if there is no display."""
    linux_without_display = sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    if linux_without_display:
        return None
    probe = f"import cv2; cv2.namedWindow({title!r}); cv2.waitKey(1); cv2.destroyAllWindows()"
    try:
        # In a separate process: without a working display, OpenCV's Qt aborts.
        subprocess.run([sys.executable, "-c", probe], capture_output=True, timeout=30, check=True)
    except (subprocess.SubprocessError, OSError):
        return None
    return Window(title)
