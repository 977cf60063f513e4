"""Kinds of values that settings have, see `mpn.settings.option`."""

import argparse
import numbers
import os


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


def between(kind, least, most):
    """Numbers from `least` to `most`; `kind` is int or float."""
    name = "a whole number" if kind is int else "a number"
    return _number(kind, f"{name} from {least} to {most}", lambda value: least <= value <= most)


positive_int = _number(int, "a whole number of 1 or more", lambda value: value >= 1)
natural = _number(int, "a whole number of 0 or more", lambda value: value >= 0)
odd = _number(int, "an odd number from 1 to 999", lambda value: 1 <= value <= 999 and value % 2 == 1)
positive_float = _number(float, "a number above 0", lambda value: 0 < value < float("inf"))
non_negative = _number(float, "a number of 0 or more", lambda value: 0 <= value < float("inf"))
share = between(float, 0, 1)
positive_share = _number(float, "a number above 0 and up to 1", lambda value: 0 < value <= 1)
share_below_1 = _number(float, "a number from 0 to below 1", lambda value: 0 <= value < 1)
degrees = between(float, 0, 180)
jitter = between(float, 0, 0.4)  # of each side of a box, which could turn inside out from 0.5 on


def choice(*values):
    """Just these texts or whole numbers."""

    def check(value):
        _require(type(value) is type(values[0]) and value in values)
        return value

    return Kind(f"one of {', '.join(map(str, values))}", check, choices=values, type=type(values[0]))


def several(*kinds, rising=False, **arguments):
    """Tuples with a number of each of `kinds`; if `rising`, none is smaller than the one before."""

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


def _positive_floats(value):
    _require(value and isinstance(value, (list, tuple)))
    return tuple(map(positive_float.check, value))


def _floats(text):
    return tuple(map(float, text.split(",")))


SIDES = several(positive_int, positive_int, rising=True, action=ImageSize, metavar=("SHORTER", "LONGEST"))
SWITCH = Kind("True or False", _switch, action=argparse.BooleanOptionalAction)
TEXT = Kind("a text or a path", _text)
PATH = Kind("a path", _text)  # stored as an absolute path
TEXTS = Kind("a text or a path, or several", _texts, action="append")
LIST = Kind("a list of numbers above 0, such as 0.5,1,2", _positive_floats, parse=_floats)
