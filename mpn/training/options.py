"""Command-line options that the three training scripts share."""

import argparse
import dataclasses
import json
import os
import sys

from mpn.cli.arguments import add_coco_option, average, natural, positive_float, positive_int, share
from mpn.errors import UserError
from mpn.model_directory import last_checkpoint, load_config
from mpn.precision import TRAINING_PRECISIONS
from mpn.weights import check_numbers, read_notes

# Where the data lie.
_PATHS = ("coco", "annotations", "partial")

# What a resumed run may have otherwise than before; everything else would make it another run.
MAY_CHANGE = ("epochs", "learning_rate", "precision", "workers", "cache_images", *_PATHS)

# What belongs to a call of a script and not to a run.
_OF_THE_CALL = ("model", "resume", "stage", "progress")


def training_parser(description, stage, epochs, batch_size, learning_rate):
    """A parser with the shared options.

    Args:
        description: shown by --help.
        stage: "keypoints", "person" or "prn".
        epochs, batch_size, learning_rate: the stage's defaults.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False
    )
    parser.set_defaults(stage=stage)
    add_coco_option(parser)
    parser.add_argument("--model", metavar="DIR", default="models/multiposenet", help="model directory")
    parser.add_argument("--epochs", type=positive_int, default=epochs, help="train up to this many epochs in all")
    parser.add_argument("--steps-per-epoch", type=positive_int, help="batches an epoch; default: the whole data set")
    parser.add_argument("--batch-size", type=positive_int, default=batch_size, help="samples a step, over all devices")
    parser.add_argument("--learning-rate", type=positive_float, default=learning_rate, help="Adam's, at the start")
    parser.add_argument(
        "--schedule",
        choices=("plateau", "cosine"),
        default="plateau",
        help="of the learning rate: x 0.1 in plateaux, or down to nothing at the end of --epochs",
    )
    parser.add_argument(
        "--plateau-patience", type=positive_int, default=3, help="epochs without a better val_loss before x 0.1"
    )
    parser.add_argument("--min-learning-rate", type=positive_float, default=1e-7, help="the schedule's lower end")
    parser.add_argument("--precision", choices=TRAINING_PRECISIONS, default="float32", help="number format")
    parser.add_argument(
        "--resume", action="store_true", help="go on from the last checkpoint of --model, with its options"
    )
    parser.add_argument("--seed", type=natural, default=0, help="makes a run repeatable, data order included")
    parser.add_argument("--limit", type=positive_int, metavar="N", help="first N images of each split only")
    parser.add_argument("--workers", type=positive_int, default=os.cpu_count() or 1, help="samples prepared at a time")
    parser.add_argument(
        "--validation",
        choices=("val", "held-out", "train"),
        default="val",
        help="images whose loss decides best and plateau; held-out are images of train, which are not trained on",
    )
    parser.add_argument(
        "--hold-out", type=share, default=0.02, help="share of train held out, also where there is no val split"
    )
    parser.add_argument(
        "--average",
        type=average,
        metavar="DECAY",
        help="validate and keep a moving average of the weights; 0.999 averages about 1000 steps",
    )
    return parser


def parse(parser, argv=None):
    """Parses, and with --resume takes what is not given from the run that is resumed.

    Args:
        parser: of `training_parser`.
        argv: list of str, or None for the command line.

    Returns:
        argparse.Namespace, with `stage` (str) and `progress` (bool, whether stdout is a terminal).

    Raises:
        UserError: an option is given that is not the run's, and not one of MAY_CHANGE; or the checkpoint is damaged.
    """
    options = parser.parse_args(argv)
    options.progress = sys.stdout.isatty()
    if options.resume and last_checkpoint(options.model, options.stage).exists():
        _take_over(parser, argv, options)
    return options


def options_to_store(options):
    """What a resumed run must know of the options: a dict of plain Python."""
    stored = {name: value for name, value in vars(options).items() if name not in _OF_THE_CALL}
    stored |= {name: os.path.abspath(stored[name]) for name in _PATHS if stored.get(name)}
    return json.loads(json.dumps(stored))


def options_of(config, stage):
    """The options of a stage that a ModelConfig holds, as a dict."""
    fields = dataclasses.asdict(config)
    if stage == "person":
        return {}
    if stage == "prn":
        return {name.removeprefix("prn_"): value for name, value in fields.items() if name.startswith("prn_")}
    found = {name: v for name, v in fields.items() if not name.startswith(("prn_", "refiner_", "image_size", "folded"))}
    if config.refiner_share is None:
        return found | {"refiner": False, "inference_size": config.image_size}
    crops = {"image_size": config.image_size[0], "person_share": config.refiner_share}
    return found | crops | {"refiner": True, "enlargement": config.refiner_enlargement}


def _take_over(parser, argv, options):
    """Sets the options that are not given to those of the run that is resumed; refuses those that differ."""
    checkpoint = last_checkpoint(options.model, options.stage)
    stored = {name: value for name, value in _stored(checkpoint, options).items() if name in vars(options)}
    for action in parser._actions:
        if action.dest in stored and not _fits(action, stored[action.dest]):
            raise _no_options(checkpoint)
    absent = object()
    blank = argparse.Namespace(**dict.fromkeys(vars(options), absent))  # defaults fill what is not there
    given = {name for name, value in vars(parser.parse_args(argv, blank)).items() if value is not absent}
    now = options_to_store(options)
    # Data may have moved; a run that had none of a kind is another with them.
    fixed = [name for name in stored if name not in MAY_CHANGE or (name in _PATHS[1:] and stored[name] is None)]
    differing = [name for name in fixed if name in given and now[name] != stored[name]]
    if differing:
        before, after = (" and ".join(_spelled(parser, name, of[name]) for name in differing) for of in (stored, now))
        raise UserError(
            f"{checkpoint} was trained with {before}, not {after}: leave that out to resume it, or train in another "
            "--model directory"
        )
    for name in stored.keys() - given:
        setattr(options, name, tuple(stored[name]) if isinstance(stored[name], list) else stored[name])


def _stored(checkpoint, options):
    """The options of a run; of one from before they were stored, those that its notes and config.json tell."""
    check_numbers(checkpoint)  # before its notes are believed
    notes = read_notes(checkpoint)
    stored = notes.get("options")
    if stored is None:
        if not isinstance(notes.get("settings", {}), dict):
            raise _no_options(checkpoint)
        design = notes.get("design") or "paper"  # as it was where none was given; it decides more than the notes tell
        if "design" in notes and design != getattr(options, "design", design):
            raise UserError(f"{checkpoint} was trained with --design {design}: pass that to resume it")
        known = {name: notes[name] for name in ("schedule", "design", "learning_rate") if notes.get(name) is not None}
        stored = {**notes.get("settings", {}), **known, **options_of(load_config(options.model), options.stage)}
        stored = json.loads(json.dumps(stored))
    if not isinstance(stored, dict):
        raise _no_options(checkpoint)
    return stored


def _no_options(checkpoint):
    return UserError(f"{checkpoint} holds no options of a run: it is damaged; train in another --model directory")


def _fits(action, value):
    """Whether a stored value is one that an option can have: its default, or what the command line could give."""
    if action.nargs == 0:
        return isinstance(value, bool)
    if value is None:
        return action.default is None or action.dest in _PATHS  # of paths, variables decide the default
    if isinstance(value, list) != (action.nargs is not None):
        return False
    values = value if isinstance(value, list) else [value]
    try:
        same = all((action.type or str)(str(one)) == one for one in values)
    except (argparse.ArgumentTypeError, ValueError):
        return False
    if action.nargs is not None:  # pairs, of sides or factors
        return same and len(values) == 2
    return same and (action.choices is None or value in action.choices)


def _spelled(parser, name, value):
    """An option with its value as one writes it on the command line; "no --dilated" where it would be left out."""
    (action,) = (action for action in parser._actions if action.dest == name)
    flag = action.option_strings[0]
    if action.nargs == 0 and len(action.option_strings) == 2:  # --curriculum and --no-curriculum
        return action.option_strings[not value]
    if value is None or (action.nargs == 0 and value != action.const):
        return f"no {flag}"
    words = value if isinstance(value, list) else [value] if action.nargs != 0 else []
    return " ".join(map(str, [flag, *words]))
