"""Settings: frozen dataclasses that check themselves and know their command line options.

`option` makes a field, with its default, kind of value and help. `mpn.cli.settings` makes a command line of a settings
class.
"""

import argparse
import dataclasses
import numbers
import os
import re

from mpn.errors import UserError


class SettingsError(UserError):
    """Impossible settings. `sentence` has names of fields in braces; a command line shows them as options."""

    def __init__(self, sentence):
        super().__init__(re.sub(r"{(\w+)}", r"\1", sentence))
        self.sentence = sentence


class Kind:
    """A kind of value. Calling it parses a text, as the `type` of argparse.

    `wanted` describes the values in words. `check` returns a value as it is stored, or raises ValueError. `arguments`
    are keywords for `add_argument`.
    """

    def __init__(self, wanted, check, parse=None, **arguments):
        self.wanted = wanted
        self.check = check
        self.arguments = {"type": self} | arguments if parse else arguments
        self._parse = parse

    def __call__(self, text):
        try:
            return self.check(self._parse(text))
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {self.wanted}") from None


def _require(condition):
    if not condition:
        raise ValueError


def _number(kind, wanted, accepts):
    def check(value):
        of_kind = isinstance(value, numbers.Integral if kind is int else numbers.Real) and not isinstance(value, bool)
        _require(of_kind and accepts(value))
        return kind(value)

    return Kind(wanted, check, parse=kind)


positive_int = _number(int, "a whole number of 1 or more", lambda value: value >= 1)
natural = _number(int, "a whole number of 0 or more", lambda value: value >= 0)
odd = _number(int, "an odd number of 1 or more", lambda value: value >= 1 and value % 2 == 1)
positive_float = _number(float, "a number above 0", lambda value: 0 < value < float("inf"))
non_negative = _number(float, "a number of 0 or more", lambda value: 0 <= value < float("inf"))
share = _number(float, "a number from 0 to 1", lambda value: 0 <= value <= 1)
positive_share = _number(float, "a number above 0 and up to 1", lambda value: 0 < value <= 1)
share_below_1 = _number(float, "a number from 0 to below 1", lambda value: 0 <= value < 1)
degrees = _number(float, "an angle from 0 to 180 degrees", lambda value: 0 <= value <= 180)
# Each side of a box moves by up to this share; from 0.5 on, the box could turn inside out.
jitter = _number(float, "a number from 0 to 0.4", lambda value: 0 <= value <= 0.4)


def choice(*values):
    """The kind that allows just these texts or whole numbers."""

    def check(value):
        _require(type(value) is type(values[0]) and value in values)
        return value

    return Kind(f"one of {', '.join(map(str, values))}", check, choices=values, type=type(values[0]))


def several(*kinds, rising=False, **arguments):
    """The kind of tuples with a number of each of `kinds`; if `rising`, none is smaller than the one before."""

    def check(value):
        _require(isinstance(value, (list, tuple)) and len(value) == len(kinds))
        values = tuple(kind.check(one) for kind, one in zip(kinds, value, strict=True))
        _require(not rising or list(values) == sorted(values))
        return values

    each = " and ".join(dict.fromkeys(kind.wanted for kind in kinds))
    wanted = f"{len(kinds)} numbers ({each}){', the smaller first' if rising else ''}"
    return Kind(wanted, check, **arguments or {"type": kinds[0], "nargs": len(kinds)})


class ImageSize(argparse.Action):
    """Takes SHORTER [LONGEST] in pixels and stores the pair; 800 alone gives the paper's (800, 1333) (§3.5)."""

    def __init__(self, option_strings, dest, **options):
        super().__init__(option_strings, dest, nargs="+", type=positive_int, **options)

    def __call__(self, parser, namespace, values, option_string=None):
        shorter, longest = (*values, with_longest_side(values[0])[1])[:2]
        if len(values) > 2 or longest < shorter:
            parser.error(f"{option_string} takes SHORTER, or SHORTER and LONGEST with LONGEST at least SHORTER")
        setattr(namespace, self.dest, (shorter, longest))


def with_longest_side(shorter):
    """(shorter, longest) side in pixels, in RetinaNet's proportion of 800 to 1333."""
    return shorter, shorter * 5 // 3


def _switch(value):
    _require(isinstance(value, bool))
    return value


def _text(value):
    _require(isinstance(value, (str, os.PathLike)))
    return os.fspath(value)


def _texts(value):
    values = (value,) if isinstance(value, (str, os.PathLike)) else value
    _require(values and isinstance(values, (list, tuple)))
    return tuple(map(_text, values))


def _floats(text):
    return tuple(map(float, text.split(",")))


def _positive_floats(value):
    _require(value and isinstance(value, (list, tuple)))
    return tuple(map(positive_float.check, value))


SIDES = several(positive_int, positive_int, rising=True, action=ImageSize, metavar=("SHORTER", "LONGEST"))
SWITCH = Kind("True or False", _switch, action=argparse.BooleanOptionalAction)
TEXT = Kind("a text or a path", _text)
PATH = Kind("a path", _text)  # stored as an absolute path
TEXTS = Kind("a text or a path, or several", _texts, action="append")
LIST = Kind("a list of numbers above 0, such as 0.5,1,2", _positive_floats, parse=_floats)


def option(default, kind, help, may_change=False, flag=None, **arguments):
    """A field of a settings class.

    `default` is a value, or a function that returns it; if it is None or a function, None is allowed too. A resumed run
    may have another value if `may_change`. `flag` is the option's name if it differs from the field's. `arguments` are
    more keywords for `add_argument`.
    """
    metadata = {"kind": kind, "help": help, "may_change": may_change, "flag": flag, "arguments": arguments}
    how = "default_factory" if callable(default) else "default"
    return dataclasses.field(**{how: default}, metadata=metadata)


def with_default(settings_class, name, default):
    """A field like that of another settings class, with another default."""
    return dataclasses.field(default=default, metadata=options_of(settings_class)[name].metadata)


def same_option(settings_class, name):
    """The option of another settings class."""
    field = options_of(settings_class)[name]
    return dataclasses.field(default=field.default, default_factory=field.default_factory, metadata=field.metadata)


class Settings:
    """Base of settings classes, frozen dataclasses of `option` fields; SettingsError where values are wrong."""

    def __post_init__(self):
        for name, field in options_of(self).items():
            object.__setattr__(self, name, checked(field, getattr(self, name)))
        self.check()

    def check(self):
        """Refuses values that do not go together."""


def options_of(settings):
    """The options of a settings class or instance: a dict of name and dataclasses.Field."""
    return {field.name: field for field in dataclasses.fields(settings) if "kind" in field.metadata}


def checked(field, value):
    """An option's value as it is stored; SettingsError where it is of another kind."""
    if value is None and (field.default is None or field.default is dataclasses.MISSING):
        return None
    try:
        return field.metadata["kind"].check(value)
    except ValueError:
        raise SettingsError(f"{{{field.name}}} must be {field.metadata['kind'].wanted}, not {value!r}") from None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Views(Settings):
    """Test-time augmentation, see `mpn.inference.views.Augmentation`."""

    scales: tuple = option(
        (1.0,),
        LIST,
        "see each image at these scales of the image size, such as 0.5,1,1.5,2, and average",
        metavar="S,S,...",
    )
    mirror: bool = option(False, SWITCH, "see each image mirrored too, and average; each person, too, with --refine")
    crops: int = option(1, positive_int, "see N x N crops of each image too, from 2 up", metavar="N")
