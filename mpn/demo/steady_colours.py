"""Colours that stay with people from frame to frame."""

import numpy as np

from mpn.geometry import box_iou

# Least IoU of a person's boxes in two frames that follow each other.
_SAME_PERSON = 0.3


class SteadyColours:
    """Numbers for the colours of people in the frames of a film.

    People come best first, and who is best changes all the time; without this a drawing would flicker. It looks no
    further back than one frame and is no tracking: who was hidden comes back in another colour.
    """

    def __init__(self):
        self._boxes = np.zeros((0, 4), np.float32)
        self._numbers = []

    def of(self, people):
        """The colours of the next frame's people.

        A person takes the number of that person in the frame before whose box overlaps best, and who is new the
        smallest number that is free.

        Args:
            people: list of Person.

        Returns:
            list of int from 0 up, all different, parallel to `people`.
        """
        boxes = np.array([person.box for person in people], np.float32).reshape(-1, 4)
        overlaps = box_iou(boxes[:, None], self._boxes)
        numbers = [None] * len(people)
        while overlaps.size and overlaps.max() >= _SAME_PERSON:
            new, old = np.unravel_index(overlaps.argmax(), overlaps.shape)
            numbers[new] = self._numbers[old]
            overlaps[new], overlaps[:, old] = 0, 0
        for index, number in enumerate(numbers):
            if number is None:
                numbers[index] = min(set(range(len(people))) - set(numbers))
        self._boxes, self._numbers = boxes, numbers
        return numbers
