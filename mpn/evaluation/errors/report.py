"""Reports the errors of poses and what they cost: printed, as tables in files, and as pictures.

`mpn.evaluation.errors.pose_errors` defines the errors, and `mpn.evaluation.errors.gains` their costs.
"""

import pathlib

import numpy as np

from mpn.evaluation.charts import save
from mpn.evaluation.errors.chart import draw_errors, draw_worst
from mpn.evaluation.errors.gains import CORRECTIONS, METRICS, gains
from mpn.evaluation.errors.pose_errors import ERRORS, INVERSION, NOT_LABELLED, diagnose
from mpn.evaluation.tables import as_share, markdown, write_csv
from mpn.files import write_json
from mpn.skeleton import KEYPOINTS, NUM_KEYPOINTS

# Bins of people by how many others overlap them: name -> least number.
OVERLAP_BINS = {"0": 0, "1-2": 1, "3-4": 3, "5 and more": 5}

# Bins of keypoints by confidence: name -> least confidence.
CONFIDENCE_BINS = {f"from {least:.1f}": least for least in np.arange(10) / 10}

# Kinds of people and of detections; the shares of each tuple add up to 1, as those of ERRORS do.
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
    errors = np.array([match.errors for match in diagnosis.matches], int).reshape(-1, NUM_KEYPOINTS)
    found, missed = (
        np.searchsorted(list(OVERLAP_BINS.values()), np.array(counts, int), side="right") - 1
        for counts in ([match.overlapping for match in diagnosis.matches], list(diagnosis.missed.values()))
    )
    bins = {name: (found == index, missed == index) for index, name in enumerate(OVERLAP_BINS)}
    bins["all"] = (found >= 0, missed >= 0)
    confidences = np.array([results[match.result]["keypoints"][2::3] for match in diagnosis.matches], float)
    confidence = np.searchsorted(list(CONFIDENCE_BINS.values()), confidences.reshape(errors.shape), side="right") - 1
    outside = np.array([match.outside for match in diagnosis.matches], bool).reshape(errors.shape)
    lists = (getattr(diagnosis, name) for name in ("matches", *DETECTIONS[1:]))
    return {
        "keypoints": {name: _count(errors[:, joint]) for joint, name in enumerate(KEYPOINTS)} | {"all": _count(errors)},
        "confidence": {name: _count(errors[confidence == index]) for index, name in enumerate(CONFIDENCE_BINS)},
        "box": {"inside": _count(errors[~outside]), "outside": _count(errors[outside])},
        "overlap": {
            name: _count(errors[here]) | dict(zip(PEOPLE, (int(here.sum()), int(gone.sum())), strict=True))
            for name, (here, gone) in bins.items()
        },
        "detections": {"all": dict(zip(DETECTIONS, map(len, lists), strict=True))},
    }


def _count(errors):
    """Counts by ERRORS, without unlabelled keypoints."""
    counts = np.bincount(errors[errors != NOT_LABELLED], minlength=len(ERRORS))
    return {name: int(count) for name, count in zip(ERRORS, counts, strict=True)}


def shares(row):
    """A row of `summarise` as shares of its keypoints, people or detections; None where it has none."""
    wholes = {kind: sum(row.get(k, 0) for k in kinds) for kinds in (ERRORS, PEOPLE, DETECTIONS) for kind in kinds}
    return {kind: count / wholes[kind] if wholes[kind] else None for kind, count in row.items()}


def write_error_report(folder, ground_truth, results, image_ids, settings, records=()):
    """Counts errors and what they cost, prints both and writes them into an existing folder.

    The files are errors.csv (counts), gains.csv (a line for each correction), errors.json, errors.png, and worst.png
    with the worst poses if any is wrong.

    Args:
        ground_truth, results, image_ids: as for `diagnose`.
        settings: dict that describes the results; `diagnose` takes its `margin`, if any.
        records: ImageRecords; their images are drawn behind the worst poses if they exist.

    Returns:
        the content of errors.json: {"counts": from `summarise`, "gains": from `gains`, "worst": list of {"image_id",
        "oks", "errors": counts by kind}, "settings": {...}}.
    """
    folder = pathlib.Path(folder)
    diagnosis = diagnose(ground_truth, results, image_ids, np.max(settings.get("margin", np.inf)))
    counts = summarise(diagnosis, results)
    gained = gains(ground_truth, results, image_ids, diagnosis)
    worst = worst_matches(diagnosis, results)
    report = {"counts": counts, "gains": gained, "worst": [], "settings": settings}
    for match in worst:
        image = results[match.result]["image_id"]
        report["worst"].append({"image_id": image, "oks": match.oks, "errors": _count(match.errors)})
    lines = (
        (table, name, kind, row[kind], share)
        for table, rows in counts.items()
        for name, row in rows.items()
        for kind, share in shares(row).items()
    )
    write_csv(folder / "errors.csv", ("table", "row", "kind", "count", "share"), lines)
    columns = (*METRICS, "gain")
    lines = ((name, *map(row.get, columns)) for name, row in gained.items())
    write_csv(folder / "gains.csv", ("correction", *columns), lines)
    save(draw_errors(counts, gained), folder / "errors.png")
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
    for title, table, kinds in (
        ("keypoint", "keypoints", ERRORS),
        ("confidence", "confidence", ERRORS),
        ("enlarged box", "box", ERRORS),
        ("people overlapping", "overlap", ERRORS + PEOPLE),
    ):
        header = [title, "keypoints", *kinds]
        rows = [
            [name, sum(row[kind] for kind in ERRORS), *(_or_dash(shares(row)[kind]) for kind in kinds)]
            for name, row in counts[table].items()
        ]
        print(f"\n{markdown(header, rows)}")
    print("\ndetections: " + ", ".join(f"{count} {kind}" for kind, count in counts["detections"]["all"].items()))
    rows = [
        [name, *(_or_dash(row[metric]) for metric in METRICS), _gain(row.get("gain")), CORRECTIONS.get(name, "")]
        for name, row in report["gains"].items()
    ]
    print(f"\n{markdown(['without', *METRICS, 'AP gained', 'what that means'], rows)}")


def _or_dash(share):
    return "-" if share is None else share


def _gain(value):
    return "-" if value is None else as_share(value, signed=True)
