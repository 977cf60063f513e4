"""Stage 1 of 3: trains backbone and keypoint subnet."""

from mpn.training.commands import keypoints as main

if __name__ == "__main__":
    main.run()
