"""Reports the errors of poses and what they cost: printed, as JSON, and as pictures.

`mpn.evaluation.errors.pose_errors` defines the errors, and `mpn.evaluation.errors.gains` their costs.
"""

import pathlib

import numpy as np

from mpn.evaluation.charts import save
from mpn.evaluation.errors.chart import draw_errors, draw_worst
from mpn.evaluation.errors.gains import CORRECTIONS, METRICS, gains, in_words
from mpn.evaluation.errors.pose_errors import ERRORS, INVERSION, NOT_LABELLED, diagnose
from mpn.evaluation.tables import markdown
from mpn.files import write_json
from mpn.skeleton import KEYPOINTS, NUM_KEYPOINTS

# Bins of people by how many others overlap them: name -> least number.
OVERLAP_BINS = {"0": 0, "1-2": 1, "3-4": 3, "5 and more": 5}

# Bins of keypoints by confidence: name -> least confidence.
CONFIDENCE_BINS = {f"from {least:.1f}": least for least in np.arange(10) / 10}

# Kinds of people and of detections.
PEOPLE = ("found", "not found")
DETECTIONS = ("matched", "duplicates", "background", "ignored")

# The most people drawn, and the labelled keypoints each needs: with fewer, one wrong keypoint decides the OKS.
WORST, LEAST_KEYPOINTS = 10, 3


def summarise(diagnosis, results):
    """Counts a Diagnosis of results in five tables: dicts of rows, which are dicts of kinds to counts.

    Four tables count labelled keypoints of people with a detection by ERRORS: "keypoints" has rows KEYPOINTS and "all";
    "confidence" has CONFIDENCE_BINS; "box" has "inside" and "outside" of the enlarged box; "overlap" has OVERLAP_BINS
    and "all", and counts PEOPLE as well. "detections" has one row, "all", which counts DETECTIONS.
    """
    matches = diagnosis.matches
    errors = np.array([match.errors for match in matches], int).reshape(-1, NUM_KEYPOINTS)
    outside = np.array([match.outside for match in matches], bool).reshape(errors.shape)
    confidence = _bins([results[match.result]["keypoints"][2::3] for match in matches], CONFIDENCE_BINS)
    confidence = confidence.reshape(errors.shape)
    found = _bins([match.overlapping for match in matches], OVERLAP_BINS)
    missed = _bins(list(diagnosis.missed.values()), OVERLAP_BINS)
    overlap = {name: (found == index, missed == index) for index, name in enumerate(OVERLAP_BINS)}
    overlap["all"] = (found >= 0, missed >= 0)
    lists = (getattr(diagnosis, name) for name in ("matches", *DETECTIONS[1:]))
    return {
        "keypoints": {name: _count(errors[:, joint]) for joint, name in enumerate(KEYPOINTS)} | {"all": _count(errors)},
        "confidence": {name: _count(errors[confidence == index]) for index, name in enumerate(CONFIDENCE_BINS)},
        "box": {"inside": _count(errors[~outside]), "outside": _count(errors[outside])},
        "overlap": {
            name: _count(errors[here]) | {"found": int(here.sum()), "not found": int(gone.sum())}
            for name, (here, gone) in overlap.items()
        },
        "detections": {"all": dict(zip(DETECTIONS, map(len, lists), strict=True))},
    }


def _bins(values, bins):
    """Indices of the bins that hold the values."""
    return np.searchsorted(list(bins.values()), np.array(values, float), side="right") - 1


def _count(errors):
    """Counts by ERRORS, without unlabelled keypoints."""
    counts = np.bincount(errors[errors != NOT_LABELLED], minlength=len(ERRORS))
    return {name: int(count) for name, count in zip(ERRORS, counts, strict=True)}


def write_error_report(folder, ground_truth, results, image_ids, settings, records=()):
    """Counts errors and what they cost, prints both and writes them into an existing folder.

    The files are errors.json, errors.png, and worst.png with the worst poses if any is wrong, before the images of
    `records` if these exist. `settings` is a dict that describes the results, with their `margin` if they have one. The
    other arguments are as for `diagnose`. Returns the content of errors.json: {"counts": from `summarise`, "gains":
    from `gains`, "worst": list of {"image_id", "oks", "errors": counts by kind}, "settings": {...}}.
    """
    folder = pathlib.Path(folder)
    diagnosis = diagnose(ground_truth, results, image_ids, np.max(settings.get("margin", np.inf)))
    worst = worst_matches(diagnosis, results)
    report = {
        "counts": summarise(diagnosis, results),
        "gains": gains(ground_truth, results, image_ids, diagnosis),
        "worst": [
            {"image_id": results[match.result]["image_id"], "oks": match.oks, "errors": _count(match.errors)}
            for match in worst
        ],
        "settings": settings,
    }
    save(draw_errors(report["counts"], report["gains"]), folder / "errors.png")
    if worst:
        save(draw_worst(worst, results, records), folder / "worst.png")
    write_json(folder / "errors.json", report, indent=2)
    print_report(report)
    print(f"\nerrors of poses in {folder}")
    return report


def worst_matches(diagnosis, results):
    """At most WORST matches with an inversion, a swap or a miss: the lowest OKS first, one an image."""
    chosen = {}
    for match in sorted(diagnosis.matches, key=lambda match: match.oks):
        enough = (match.errors != NOT_LABELLED).sum() >= LEAST_KEYPOINTS
        if enough and (match.errors >= INVERSION).any():
            chosen.setdefault(results[match.result]["image_id"], match)
    return list(chosen.values())[:WORST]


def print_report(report):
    """Prints the tables of `write_error_report`."""
    counts = report["counts"]
    for title, table in (
        ("keypoint", "keypoints"),
        ("confidence", "confidence"),
        ("enlarged box", "box"),
        ("people overlapping", "overlap"),
    ):
        groups = (ERRORS, PEOPLE) if table == "overlap" else (ERRORS,)
        rows = [
            [name, sum(row[kind] for kind in ERRORS), *(share for kinds in groups for share in shares(row, kinds))]
            for name, row in counts[table].items()
        ]
        print(f"\n{markdown([title, 'keypoints', *sum(groups, ())], rows)}")
    print("\ndetections: " + ", ".join(f"{count} {kind}" for kind, count in counts["detections"]["all"].items()))
    rows = [
        [name, *(row[metric] for metric in METRICS), in_words(row.get("gain")), CORRECTIONS.get(name, "")]
        for name, row in report["gains"].items()
    ]
    print(f"\n{markdown(['without', *METRICS, 'AP gained', 'what that means'], rows)}")


def shares(row, kinds):
    """The shares of some kinds among the keypoints or people that a row counts; -1 where there are none."""
    whole = sum(row[kind] for kind in kinds)
    return [row[kind] / whole if whole else -1.0 for kind in kinds]
