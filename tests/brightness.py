"""A model that tells frames of a film apart."""

import numpy as np

from mpn.people import Person


class BrightnessModel:
    """Finds one person in each frame, whose box is as wide as the frame's right half is bright."""

    def __init__(self):
        self.calls = 0

    def predict(self, image):
        self.calls += 1
        assert image.dtype == np.uint8 and image.shape[2] == 3
        width = image[:, image.shape[1] // 2 :].mean() / 255 * image.shape[1]
        return [person((0, 0, width, 20))]


def person(box, score=0.9):
    return Person(np.array(box, np.float32), 0.9, np.zeros((17, 3), np.float32), score)
