"""Trains and compares designs of the PRN with one budget (Table 3, left), and changes to the best one.

`python -m mpn.studies.prn_tables designs --annotations TRAIN --test VAL --output DIR` trains the designs of the paper's
table and prints it. `improvements` instead of `designs` changes the best design one thing at a time. Without --test,
grouping is measured on the images of TRAIN that `train_prn.py` holds out; make choices there. Options of `train_prn.py`
at the end hold for every row. Finished rows are kept, so a stopped command goes on where it was.
"""

import collections.abc
import dataclasses
import multiprocessing
import pathlib
from concurrent import futures

from mpn.cli.script import run
from mpn.cli.settings import command_line, module_parser
from mpn.data.coco import hold_out
from mpn.errors import UserError
from mpn.evaluation.coco import check_labelled, load_labels
from mpn.evaluation.tables import markdown
from mpn.files import read_json, write_json
from mpn.kinds import positive_int
from mpn.studies.grouping_tables import SPOILT, grouping_metrics
from mpn.training import PrnTraining
from mpn.training.splits import SMALL_HOLD_OUT

# Options of `train_prn.py` that a table sets, or that would train a row on the images that measure it.
_OWN_OPTIONS = {"--epochs", "--steps-per-epoch", "--model", "--coco", "--resume"}

_METRICS = ("AP", "AP50", "AP75", "APM", "APL")


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a table."""

    name: str  # what differs
    options: str = ""  # of `train_prn.py`, separated by blanks
    weights: str | None = None  # name of the row whose weights it uses; None trains
    inference: dict = dataclasses.field(default_factory=dict)  # options of MultiPoseNet
    score: collections.abc.Callable | None = None  # from a Person to the pose score; None is the grouping's own
    paper: object = "-"  # the paper's AP


TABLES = {
    "designs": (
        Row("1 layer, 512 nodes, dropout", "--nodes 512 --no-residual", paper=0.841),
        Row("2 layers, 512 nodes, dropout", "--nodes 512 --layers 2 --no-residual", paper=0.819),
        Row("2 layers, 512 nodes, dropout, residual", "--nodes 512 --layers 2", paper=0.835),
        Row("1 layer, 1024 nodes, dropout", "--no-residual", paper=0.846),
        Row("1 layer, 1024 nodes, dropout, residual", paper=0.894),
    ),
    "improvements": (
        Row("best", "--design best"),
        Row("no mirroring", "--design best --mirror 0"),
        Row("no box jitter", "--design best --box-jitter 0"),
        Row("imperfect keypoints", "--design best --imperfections 0.25 0.1 0.1 0.3"),
        Row("margin 21 %", "--design best --margin 0.21"),
        Row("margin 35 %", "--design best --margin 0.35"),
        Row("margin 75 %", "--design best --margin 0.75"),
        Row("greedy assignment", weights="best", inference={"assignment": "greedy"}),
        Row("window 3", weights="best", inference={"window": 3}),
        Row("window 7", weights="best", inference={"window": 7}),
        Row("window 15", weights="best", inference={"window": 15}),
        Row("score: sum of confidences / 17", weights="best", score=lambda person: person.keypoints[:, 2].mean()),
        Row("score: box score alone", weights="best", score=lambda person: person.box_score),
        Row("score: least confidence", weights="best", score=lambda person: person.keypoints[:, 2].min()),
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


def run_table(rows, annotations, test, output, steps=None, shared=()):
    """Trains and measures the rows that are not done, and prints the table after each row.

    The arguments are the command's options; `shared` lists those of `train_prn.py`. `output` gets a model directory for
    each row. Raises UserError for wrong options or files, and for rows of another run in `output`.
    """
    shared = [*shared, "--annotations", annotations, "--epochs", "1"]
    shared += ["--steps-per-epoch", str(steps)] if steps else []
    # Read before the first training, so that a wrong option or path ends the work at once.
    with command_line(PrnTraining, argv=shared) as settings:
        records, truth = load_labels(test) if test else held_out_labels(settings)
    lines = []
    for row in rows:
        folder = pathlib.Path(output) / _folder_name(row.name)
        file = folder / f"{'test' if test else 'held-out'}-metrics.json"
        arguments = [*row.options.split(), *shared, "--model", str(folder)]
        made_with = {"arguments": arguments, "measured on": str(test or "held-out images")}
        if not file.exists():
            weights = pathlib.Path(output) / _folder_name(row.weights) if row.weights else folder
            if not row.weights and not (folder / "prn.weights.h5").exists():
                print(f"training: {row.name}", flush=True)
                _train(arguments)
            metrics = measure(row, weights, records, truth)
            folder.mkdir(parents=True, exist_ok=True)
            write_json(file, metrics | made_with, indent=2)
        stored = read_json(file, "metrics")
        if {key: stored.get(key) for key in made_with} != made_with:
            raise UserError(f"{file} was made with other options: remove it, or take another --output")
        figures = [stored[name] for name in (*_METRICS, "spoilt AP")]
        lines.append([row.name, row.paper, *figures, f"{stored['parameters'] / 1e6:.1f} M"])
        print(markdown(["design", "paper AP", *_METRICS, "spoilt AP", "parameters"], lines), flush=True)


def measure(row, weights, records, truth):
    """Measures a row's grouping of ImageRecords, whose labels are in `truth`, with the model directory `weights`.

    Returns keypoint metrics in 0-1, "spoilt AP", the AP with SPOILT input, and "parameters". Raises UserError if there
    are no weights.
    """
    from mpn.inference.multiposenet import MultiPoseNet

    if not weights.exists():
        raise UserError(f"the row {row.name} needs the weights of {row.weights}: train that row first")
    model = MultiPoseNet.load(weights, ("prn",), **row.inference)
    metrics = grouping_metrics(model, records, truth, rescore=row.score)
    metrics["spoilt AP"] = grouping_metrics(model, records, truth, *SPOILT, rescore=row.score)["AP"]
    metrics["parameters"] = model.networks.prn.count_params()
    return metrics


def held_out_labels(settings):
    """The images with labelled people that a PrnTraining holds out, and the COCO object of all; UserError if none."""
    share = SMALL_HOLD_OUT if settings.hold_out is None else settings.hold_out
    if share == 0:
        raise UserError("--hold-out 0 would measure rows on their own training images: raise it, or pass --test")
    records, truth = load_labels(settings.annotations, settings.limit)
    _, records = hold_out(records, share)
    records = [record for record in records if record.labelled.any()]
    check_labelled(records, settings.annotations)
    return records, truth


def _train(arguments):
    """Trains a row in a process of its own, which gives back all of its memory."""
    with futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            pool.submit(_train_here, arguments).result()
        except futures.BrokenExecutor as error:
            raise UserError("the training was killed, perhaps since memory was full: run the command again") from error


def _train_here(arguments):
    with command_line(PrnTraining, argv=arguments) as settings:
        from mpn.training import train_prn

        train_prn(settings)


def _folder_name(name):
    return "".join(character if character.isalnum() else "-" for character in name)


def main(argv=None):
    parser = module_parser(__spec__, __doc__)
    parser.add_argument("table", choices=sorted(TABLES))
    parser.add_argument("--annotations", metavar="FILE", required=True, help="COCO keypoints JSON to train on")
    parser.add_argument("--test", metavar="FILE", help="COCO keypoints JSON; default: held-out images of --annotations")
    parser.add_argument("--output", metavar="DIR", required=True, help="folder with a model directory for each row")
    parser.add_argument("--steps", type=positive_int, help="training steps of a row; default: one pass")
    options, shared = parser.parse_known_args(argv)
    taken = _OWN_OPTIONS & {word.partition("=")[0] for word in shared}
    if taken:
        raise UserError(f"{', '.join(sorted(taken))} cannot be given here: rows have one epoch of --steps, in --output")
    run_table(TABLES[options.table], options.annotations, options.test, options.output, options.steps, shared)


if __name__ == "__main__":
    run(main)
