"""Person segmentation (§4.4) measured on COCO: the IoU of the silhouette channel with the annotated masks of people.

The paper takes PASCAL's IoU, which counts the pixels of all images together and leaves out those that the annotation
does not decide. In COCO these are crowd regions, and people of whom only the box is known.
"""

import numpy as np

from mpn.data.segmentations import segmentation_mask


def true_silhouettes(record):
    """Where an image has people, and where its annotation does not tell.

    Args:
        record: ImageRecord.

    Returns:
        people: (H, W) bool, the masks of all single people, with keypoints or without, without what is unknown.
        unknown: (H, W) bool, crowd regions, and the pixels that the box of a person or crowd without segmentation
            touches, unless a known mask covers them.
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


def count_pixels(record, found):
    """`pixel_counts` of an ImageRecord and the (H, W) bool mask of where people were found."""
    return pixel_counts(*true_silhouettes(record), found)


def pixel_counts(people, unknown, found):
    """The pixels of one image that its IoU is made of, without unknown ones.

    Args:
        people, unknown: (H, W) bool, see `true_silhouettes`.
        found: (H, W) bool, where people were found.

    Returns:
        ints: the pixels of intersection, union, and true people.

    Raises:
        ValueError: `found` has another size.
    """
    if found.shape != people.shape:
        raise ValueError(f"the mask is {found.shape} and the image {people.shape}")
    found = found & ~unknown
    return tuple(int(np.count_nonzero(mask)) for mask in (people & found, people | found, people))


def silhouette_metrics(counts):
    """The IoU over all images, and over one at a time.

    Args:
        counts: list of what `count_pixels` gives, one an image.

    Returns:
        dict of floats in 0-1, or -1 where there is nothing to divide by: "IoU", pixels of intersection over pixels of
        union; "mean_IoU", the mean of the IoUs of images with people, so that small people weigh as much as large ones.
    """
    intersection, union, people = np.array(counts, np.int64).reshape(-1, 3).T
    some = people > 0
    return {
        "IoU": float(intersection.sum() / union.sum()) if union.any() else -1.0,
        "mean_IoU": float((intersection[some] / union[some]).mean()) if some.any() else -1.0,
    }
