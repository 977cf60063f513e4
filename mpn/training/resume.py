"""Resuming: the settings in a checkpoint, with the changes that are allowed."""

import dataclasses

from mpn.config import CHANNELS
from mpn.errors import UserError
from mpn.model_directory import last_checkpoint
from mpn.settings import SettingsError, checked, options_of
from mpn.training.splits import SMALL_HOLD_OUT, has_validation
from mpn.weights import check_numbers, read_notes

# Former options, and the only value with which this version can resume a run.
_FIXED = {
    **{"limit": None, "plateau_patience": 3, "min_learning_rate": 1e-7, "sigma": 7.0, "silhouette_weight": 0.1},
    **{"enlargement": 4.0, "partial": None, "occlusion": 0.0, "paste": 0.0, "person_share": 0.6},
}


def resumed(settings_class, model, changes):
    """Returns the settings to resume the run in directory `model`: the stored ones, updated by the dict `changes`.

    Raises UserError if there is no checkpoint or this version cannot use it, and SettingsError with both values if a
    change is not allowed.
    """
    checkpoint = last_checkpoint(model, settings_class.stage)
    if not checkpoint.exists():
        raise UserError(f"nothing to resume: {checkpoint} does not exist; start without --resume")
    check_numbers(checkpoint)  # first, since its notes may be damaged too
    before = _stored(settings_class, model, checkpoint)
    fields = options_of(settings_class)
    after = {name: checked(fields[name], value) for name, value in changes.items()}
    refused = [
        name
        for name, value in after.items()
        if value != getattr(before, name) and not _may_change(fields[name], before)
    ]
    if refused:
        was, given = (" and ".join(_spelled(name, of[name]) for name in refused) for of in (vars(before), after))
        raise SettingsError(
            f"{checkpoint} was trained with {was}, not {given}: leave that out to resume it, or train in another "
            "{model} directory"
        )
    settings = dataclasses.replace(before, **after)
    object.__setattr__(settings, "resume", True)
    return settings


def _stored(settings_class, model, checkpoint):
    stored = read_notes(checkpoint).get("options")
    try:
        if not isinstance(stored, dict):
            raise SettingsError("no options")
        return settings_class(model=model, **_in_new_names(stored, options_of(settings_class), checkpoint))
    except SettingsError as error:
        raise UserError(
            f"{checkpoint} holds no options of a run: it is damaged, or of a version that did not store them; train in "
            "another --model directory"
        ) from error


def _in_new_names(stored, fields, checkpoint):
    """Translates stored options into this version's."""
    stored = dict(stored)
    if "validation" in stored:
        stored["hold_out"] = _hold_out(stored.pop("validation"), stored)
    if "keypoint_channels" in stored:  # two pairs, and before that four numbers
        channels = [stored.pop(name, []) for name in CHANNELS]
        stored["channels"] = sum((one if isinstance(one, list) else [one] for one in channels), [])
    if stored.pop("dilated", False):
        stored["backbone"] = f"{stored.get('backbone')}-dilated"
    if stored.pop("refiner", False):
        stored["refiner_share"] = stored.pop("person_share", None)
    if "false_peaks" in stored:
        names = ("displacement", "dropped", "false_peaks", "least_height")
        stored["imperfections"] = [stored.pop(name, None) for name in names]
    for name, fixed in _FIXED.items():
        if name not in fields and stored.get(name, fixed) != fixed:
            raise UserError(
                f"{checkpoint} was trained with --{name.replace('_', '-')} {stored[name]}, which this version has no "
                "more: resume it with the version that began it, or train in another --model directory"
            )
    return {name: value for name, value in stored.items() if name in fields}


def _hold_out(validation, stored):
    """`hold_out` of a run with the former option --validation, which had a --hold-out beside it."""
    if validation == "train":
        return 0.0
    share = stored.get("hold_out")
    val_is_used = not stored.get("annotations") and has_validation(str(stored.get("coco")))
    return None if validation == "val" and (val_is_used or share == SMALL_HOLD_OUT) else share


def _may_change(field, before):
    # A run that began with --coco must not continue with --annotations.
    return field.metadata["may_change"] and not (field.name == "annotations" and before.annotations is None)


def _spelled(name, value):
    """A setting for a SettingsError: "{scale} 0.8 1.2", "{concat}", "no {concat}"."""
    if value is None or isinstance(value, bool):
        return f"{'' if value else 'no '}{{{name}}}"
    return f"{{{name}}} {' '.join(map(str, value if isinstance(value, tuple) else (value,)))}"
