"""Reads the images of training samples. Others take the place of images that are damaged."""

import dataclasses
import itertools
import threading

import numpy as np

from mpn.data.coco import read_record
from mpn.errors import UserError

# If any damaged image is allowed, so are this many: 1 % of a small set would be none.
_FEW = 3

# Damaged files that the message at the end of a run names.
_NAMED = 3


@dataclasses.dataclass(frozen=True)
class Reading:
    """How a pipeline reads its images."""

    cached: bool = False  # keep decoded images in memory, at 3 bytes a pixel
    damaged: float = 0.0  # share of the images that may be damaged, see `SampleImages`


class SampleImages:
    """Reads the image of a sample, or another one if it is missing, damaged or not of its record's size.

    The other image is drawn at random from `seed` and the number of the sample alone, so it is the same in a resumed
    run and on every host. Each damaged file is named once on stdout. A host may meet as many as the share
    `reading.damaged` of the files, but at least three; a share of 0 allows none. `records` have paths.
    """

    def __init__(self, records, seed, reading):
        self._records = records
        self._seed = seed
        self._share = reading.damaged
        self._files = len({record.path for record in records})
        few = min(max(_FEW, int(reading.damaged * self._files)), self._files - 1)
        self._allowed = few if reading.damaged else 0
        self._kept = {} if reading.cached else None
        self._damaged = []
        self._lock = threading.Lock()

    def read(self, number, index):
        """The ImageRecord of a sample, usually that at `index`, and its image, (H, W, 3) uint8 RGB.

        Raises UserError if more images are damaged than `reading.damaged` allows.
        """
        for attempt in itertools.count(1):
            record = self._records[index]
            try:
                return record, self._image(record)
            except UserError as error:
                self._note(record.path, error)
            index = np.random.default_rng([self._seed, number, attempt]).integers(len(self._records))

    def _image(self, record):
        if self._kept is None:
            return read_record(record)
        if record.path not in self._kept:
            self._kept[record.path] = read_record(record)
        return self._kept[record.path]

    def _note(self, path, error):
        with self._lock:  # the pipelines read in several threads
            new = path not in self._damaged
            if new:
                self._damaged.append(path)
            count = len(self._damaged)
        if not self._allowed:
            raise error
        if count > self._allowed:
            raise UserError(
                f"{count} of {self._files} images are damaged or missing, and --damaged {self._share:g} allows "
                f"{self._allowed}; the first are {', '.join(map(str, self._damaged[:_NAMED]))}: copy them again, or "
                "pass a larger --damaged"
            )
        if new:
            print(
                f"{error}; until then other images take its place (damaged image {count} of at most {self._allowed})",
                flush=True,
            )
