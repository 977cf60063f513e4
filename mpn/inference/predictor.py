"""What every model offers: the people in an image, in several images, and in a video."""

import warnings


class Predictor:
    """Base of models; a subclass has `_predict_one(image)`, which gives a list of Person and the SilhouetteMap."""

    def predict(self, image, with_silhouettes=False):
        """Finds the people in an (H, W, 3) uint8 RGB image: list of Person, best first.

        A list or tuple of images, each of its own size, gives a list with the result of each image. `with_silhouettes`
        gives a pair of the people and the image's SilhouetteMap, which exists even if nobody was found. Raises
        ValueError for an image of another shape or dtype.
        """
        if isinstance(image, (list, tuple)):
            return [self.predict(one, with_silhouettes) for one in image]
        people, silhouettes = self._predict_one(image)
        return (people, silhouettes) if with_silhouettes else people

    def predict_all(self, images):
        """`predict` with silhouettes for a list of images, each of its own size: a list of pairs."""
        return [self._predict_one(image) for image in images]

    def detect_all(self, images):
        """`detect` for a list of images."""
        return [self.detect(image) for image in images]

    def predict_video(self, path):
        """Finds the people in a video file, frame by frame: an iterator of pairs (frame, people).

        A frame is (H, W, 3) uint8 RGB, upright; people are as in `predict`, in pixels of the frame. Frames are read
        when they are asked for. `mpn.videos.VideoReader` gives their times too.

        Raises UserError, at the first step, if the file is missing, damaged or no video. A file that breaks off, or
        has frames that cannot be decoded, ends with a warning.
        """
        from mpn.videos import VideoReader  # FFmpeg takes a moment to load, and images don't need it

        with VideoReader(path) as video:
            for frame, _ in video:
                yield frame, self.predict(frame)
            if video.problem:
                warnings.warn(f"video '{path}': {video.problem}", stacklevel=2)
