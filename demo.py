"""Finds people in photographs and videos, live from a camera, or on a web page."""

from mpn.demo.command import main

if __name__ == "__main__":
    main.run()
