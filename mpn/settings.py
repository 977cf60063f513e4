"""Settings: frozen dataclasses that check themselves and know their command line options.

`option` makes a field, with its default, kind of value and help. `mpn.cli.settings` makes a command line of a settings
class.
"""

import dataclasses
import re
import reprlib

from mpn.errors import UserError


class SettingsError(UserError):
    """Impossible settings. `sentence` has names of fields in braces; a command line shows them as options."""

    def __init__(self, sentence):
        super().__init__(re.sub(r"{(\w+)}", r"\1", sentence))
        self.sentence = sentence


def option(default, kind, help="", may_change=False, flag=None, **arguments):
    """A field of a settings class, whose values are of one of `mpn.kinds`.

    `default` is a value, or a function that returns it; if it is None or a function, None is allowed too. A resumed run
    may have another value if `may_change`. `flag` is the option's name if it differs from the field's. `arguments` are
    more keywords for `add_argument`.
    """
    metadata = {"kind": kind, "help": help, "may_change": may_change, "flag": flag, "arguments": arguments}
    how = "default_factory" if callable(default) else "default"
    return dataclasses.field(**{how: default}, metadata=metadata)


def same_option(settings_class, name, **default):
    """The option of another settings class, perhaps with another `default`."""
    field = options_of(settings_class)[name]
    default = default or {"default": field.default, "default_factory": field.default_factory}
    return dataclasses.field(**default, metadata=field.metadata)


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
        wanted = field.metadata["kind"].wanted
        raise SettingsError(f"{{{field.name}}} must be {wanted}, not {reprlib.repr(value)}") from None
