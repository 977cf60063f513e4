"""Designs of the PRN trained with one budget and compared (Table 3, left), and what each improvement on it brings.

`python -m mpn.studies.prn_tables designs --annotations TRAIN --test VAL --output DIR` trains and prints the paper's
table; `improvements` in the place of `designs` changes the best design one thing at a time. Without --test, grouping is
measured on the images of TRAIN that `train_prn.py` holds out, which is where choices belong. Options of `train_prn.py`
that follow hold for every row. Rows that are done are kept, so a run that was stopped goes on.
"""

import argparse
import dataclasses
import multiprocessing
import pathlib

import numpy as np

from mpn.cli.arguments import positive_int
from mpn.cli.script import run
from mpn.cli.settings import command_line
from mpn.data.coco import hold_out
from mpn.errors import UserError
from mpn.evaluation.coco import check_labelled, load_labels
from mpn.evaluation.tables import markdown
from mpn.files import read_json, write_json
from mpn.skeleton import NUM_KEYPOINTS
from mpn.studies.grouping_tables import SPOILT, grouping_metrics
from mpn.training import PrnTraining
from mpn.training.splits import SMALL_HOLD_OUT

# Options of `train_prn.py` that a table decides, or that would let a row train on the images it is measured on.
_OWN_OPTIONS = {"--epochs", "--steps-per-epoch", "--model", "--coco", "--resume"}

_METRICS = ("AP", "AP50", "AP75", "APM", "APL")


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        name: what differs.
        options: arguments of `train_prn.py`, separated by blanks; None for a row that uses another's weights.
        weights: name of the row whose weights it uses; None for its own.
        inference: options of MultiPoseNet.
        rescore: function of a Person giving its pose score, or None.
        paper: the paper's AP.
    """

    name: str
    options: str | None = None
    weights: str | None = None
    inference: dict = dataclasses.field(default_factory=dict)
    rescore: object = None
    paper: object = "-"


def _confidences(person):
    return person.keypoints[:, 2]


TABLES = {
    "designs": (
        Row("1 layer, 512 nodes, dropout", "--nodes 512 --no-residual", paper=0.841),
        Row("2 layers, 512 nodes, dropout", "--nodes 512 --layers 2 --no-residual", paper=0.819),
        Row("2 layers, 512 nodes, dropout, residual", "--nodes 512 --layers 2", paper=0.835),
        Row("1 layer, 1024 nodes, dropout", "--no-residual", paper=0.846),
        Row("1 layer, 1024 nodes, dropout, residual", "", paper=0.894),
    ),
    "improvements": (
        Row("best", "--design best"),
        Row("no mirroring", "--design best --mirror 0"),
        Row("no box jitter", "--design best --box-jitter 0"),
        Row(
            "noisy keypoints",
            "--design best --imperfections 0.25 0.1 0.1 0.3",
        ),
        Row("context 21 %", "--design best --margin 0.21"),
        Row("context 35 %", "--design best --margin 0.35"),
        Row("context 75 %", "--design best --margin 0.75"),
        Row("greedy assignment", weights="best", inference={"assignment": "greedy"}),
        Row("window 3", weights="best", inference={"window": 3}),
        Row("window 7", weights="best", inference={"window": 7}),
        Row("window 15", weights="best", inference={"window": 15}),
        Row("score: sum of confidences / 17", weights="best", rescore=lambda p: _confidences(p).sum() / NUM_KEYPOINTS),
        Row("score: box score alone", weights="best", rescore=lambda p: p.box_score),
        Row("score: least confidence", weights="best", rescore=lambda p: np.sort(_confidences(p))[0]),
        Row("binary cross-entropy", "--design best --loss bce"),
        Row("curriculum", "--design best --curriculum"),
        Row("constant learning rate", "--design best --schedule plateau"),
        Row("no dropout", "--design best --dropout 0"),
        Row("no residual gain", "--design best --no-residual-gain"),
        Row("no residual", "--design best --no-residual --no-residual-gain"),
        Row("512 nodes", "--design best --nodes 512"),
        Row("2048 nodes", "--design best --nodes 2048"),
        Row("2 layers", "--design best --layers 2"),
        Row("layers see every second cell", "--design best --pool 2"),
        Row("layers see every cell", "--design best --pool 1"),
    ),
}


def main(argv=None):
    parser = argparse.ArgumentParser(
        description="Trains designs of the PRN with one budget and one seed, and compares their grouping.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("table", choices=sorted(TABLES))
    parser.add_argument("--annotations", metavar="FILE", required=True, help="COCO keypoints JSON to train on")
    parser.add_argument("--test", metavar="FILE", help="COCO keypoints JSON; default: held-out images of --annotations")
    parser.add_argument("--output", metavar="DIR", required=True, help="folder of a model directory a row")
    parser.add_argument("--steps", type=positive_int, help="training steps a row; default: one pass")
    parser.add_argument("--only", metavar="NAME", nargs="+", help="these rows alone")
    options, shared = parser.parse_known_args(argv)
    rows = [row for row in TABLES[options.table] if not options.only or row.name in options.only]
    unknown = set(options.only or ()) - {row.name for row in rows}
    if unknown:
        raise UserError(f"--only names no row of {options.table}: {', '.join(sorted(unknown))}")
    taken = _OWN_OPTIONS & {word.partition("=")[0] for word in shared}
    if taken:
        raise UserError(f"{', '.join(sorted(taken))} cannot be given here: rows have one epoch of --steps, in --output")
    shared += ["--annotations", options.annotations, "--epochs", "1"]
    shared += ["--steps-per-epoch", str(options.steps)] if options.steps else []
    lines = []
    # Read before the first training, so that a wrong path ends the work here.
    with command_line(PrnTraining, argv=shared) as settings:
        test = _test_set(options, settings)
    for row in rows:
        folder = pathlib.Path(options.output) / _folder_name(row.name)
        file = folder / f"{'test' if options.test else 'held-out'}-metrics.json"
        arguments = [*(row.options or "").split(), *shared, "--model", str(folder)]
        made_with = {"arguments": arguments, "measured on": str(options.test or "held-out images")}
        if not file.exists():
            weights = pathlib.Path(options.output) / _folder_name(row.weights) if row.weights else folder
            if not row.weights and not (folder / "prn.weights.h5").exists():
                _train(row, arguments)
            write_metrics(row, weights, test, file, made_with)
        stored = read_json(file, "metrics")
        if {key: stored.get(key) for key in made_with} != made_with:
            raise UserError(f"{file} was made with other options: remove it, or take another --output")
        figures = [stored[name] for name in (*_METRICS, "spoilt AP")]
        lines.append([row.name, row.paper, *figures, f"{stored['parameters'] / 1e6:.1f} M"])
        print(markdown(["design", "paper AP", *_METRICS, "spoilt AP", "parameters"], lines), flush=True)


def write_metrics(row, weights, test, file, made_with):
    """Measures a row's grouping.

    Args:
        row: Row.
        weights: its model directory.
        test: (records, COCO object).
        file: JSON file to write: metrics in 0-1, "spoilt AP", the AP with SPOILT input, "parameters", and
            what follows.
        made_with: dict of what tells one run of a table from another.

    Raises:
        UserError: there are no weights.
    """
    from mpn.inference.multiposenet import MultiPoseNet

    if not weights.exists():
        raise UserError(f"the row {row.name} needs the weights of {row.weights}: train that row first")
    model = MultiPoseNet.load(weights, ("prn",), **row.inference)
    metrics = grouping_metrics(model, *test, rescore=row.rescore)
    metrics["spoilt AP"] = grouping_metrics(model, *test, *SPOILT, rescore=row.rescore)["AP"]
    metrics["parameters"] = model.networks.prn.count_params()
    metrics |= made_with
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, metrics, indent=2)


def _train(row, arguments):
    """Trains a row in a process of its own, which gives back all of its memory.

    Raises:
        UserError: it failed; it has printed why.
    """
    print(f"training: {row.name}", flush=True)
    process = multiprocessing.get_context("spawn").Process(target=_train_here, args=(arguments,))
    process.start()
    process.join()
    if process.exitcode:
        raise UserError(f"the row {row.name} was not trained (exit code {process.exitcode}): the reason is above")


def _train_here(arguments):
    def train(_):
        with command_line(PrnTraining, argv=arguments) as settings:
            from mpn.training import train_prn

            train_prn(settings)

    run(train)


def _test_set(options, settings):
    """Records to measure on, and the COCO object that has them."""
    path = options.test or options.annotations
    records, truth = load_labels(path, None if options.test else settings.limit)
    if not options.test:
        if settings.hold_out == 0:
            raise UserError("--hold-out 0 would measure rows on their own training images: raise it, or pass --test")
        share = SMALL_HOLD_OUT if settings.hold_out is None else settings.hold_out
        _, records = hold_out(records, share, settings.seed)
        records = [record for record in records if record.labelled.any()]
    check_labelled(records, path)
    return records, truth


def _folder_name(name):
    return "".join(character if character.isalnum() else "-" for character in name)


if __name__ == "__main__":
    run(main)
