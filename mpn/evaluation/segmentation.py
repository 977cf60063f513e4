"""Person segmentation (§4.4) on COCO: the IoU of the silhouette channel with the annotated masks of people.

As in PASCAL's IoU, which the paper takes, pixels of all images count together, except those that the annotation leaves
open: here crowd regions, and people of whom only the box is known.
"""

import numpy as np

from mpn.data.segmentations import segmentation_mask


def true_silhouettes(record):
    """Two (H, W) bool masks of an ImageRecord: people, with or without keypoints; and pixels that are unknown.

    Crowd regions are unknown. Boxes of people or crowds without segmentation are, too, but not under a person's mask.
    """
    people, crowds, boxes = np.zeros((3, record.height, record.width), bool)
    for box, crowd, segmentation in zip(record.boxes, record.crowd, record.segmentations, strict=True):
        if not segmentation:
            x1, y1 = np.floor(box[:2]).astype(int).clip(0)
            x2, y2 = np.ceil(box[2:]).astype(int).clip(0)
            boxes[y1:y2, x1:x2] = True
        else:
            mask = crowds if crowd else people
            mask |= segmentation_mask(segmentation, record.height, record.width) > 0
    return people & ~crowds, crowds | (boxes & ~people)


def pixel_counts(people, unknown, found):
    """The pixels of one image's intersection, union and true people, without unknown ones: three ints.

    All masks are (H, W) bool; for `people` and `unknown` see `true_silhouettes`. Raises ValueError where sizes differ.
    """
    if found.shape != people.shape:
        raise ValueError(f"the mask is {found.shape} and the image {people.shape}")
    found = found & ~unknown
    return tuple(int(np.count_nonzero(mask)) for mask in (people & found, people | found, people))


def silhouette_metrics(counts):
    """{"IoU", "mean_IoU"} of a list of `pixel_counts`, in 0-1; -1 where there is nothing to divide by.

    "IoU" counts the pixels of all images together; "mean_IoU" is the mean over images with people, so that small people
    weigh as much as large ones.
    """
    intersection, union, people = np.array(counts, np.int64).reshape(-1, 3).T
    some = people > 0
    return {
        "IoU": float(intersection.sum() / union.sum()) if union.any() else -1.0,
        "mean_IoU": float((intersection[some] / union[some]).mean()) if some.any() else -1.0,
    }
