"""Evaluates a model on COCO."""

from mpn.evaluation.command import main

if __name__ == "__main__":
    main.run()
