"""Command lines made from settings classes, see `mpn.settings`."""

import argparse
import contextlib
import re

from mpn.cli.script import import_tensorflow
from mpn.errors import UserError
from mpn.settings import SettingsError, options_of


@contextlib.contextmanager
def command_line(settings_class, description=None, argv=None):
    """The settings that a command line gives; a SettingsError inside names options, not fields.

    `settings_class` is a subclass of `mpn.settings.Settings`, `description` is shown by --help, and an `argv` of None
    is the program's own. For UserErrors see the class, and its `resumed` if it has one.
    """
    given = vars(settings_parser(settings_class, description).parse_args(argv))
    import_tensorflow()
    try:
        yield settings_class.resumed(**given) if given.pop("resume", False) else settings_class(**given)
    except SettingsError as error:
        raise UserError(re.sub(r"{(\w+)}", lambda field: _flag(settings_class, field[1]), error.sentence)) from error


def settings_parser(settings_class, description=None):
    """An argparse.ArgumentParser whose namespace has the options that are given and no others."""
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    _add_options(parser, settings_class, options_of(settings_class))
    if hasattr(settings_class, "resumed"):
        parser.add_argument(
            "--resume",
            action="store_true",
            default=argparse.SUPPRESS,
            help="go on from the last checkpoint in --model with that run's options, which need not be repeated",
        )
    return parser


def module_parser(spec, doc):
    """An argparse.ArgumentParser for `python -m MODULE`, from the module's `__spec__` and its docstring's beginning."""
    description = doc.partition("\n\n")[0].partition(": `")[0]
    name = spec.name.removesuffix(".__main__")
    return argparse.ArgumentParser(prog=f"python -m {name}", description=description, allow_abbrev=False)


def add_options(parser, settings_class, *names):
    """Adds the options of a settings class to a parser, with their defaults: all of them, or those of some names."""
    names = names or options_of(settings_class)
    settings = settings_class()
    parser.set_defaults(**{name: getattr(settings, name) for name in names})
    _add_options(parser, settings_class, names)


def _add_options(parser, settings_class, names):
    for name in names:
        field = options_of(settings_class)[name]
        parser.add_argument(
            _flag(settings_class, name),
            dest=name,
            default=argparse.SUPPRESS,
            help=f"{field.metadata['help']}{_default(settings_class, field)}".replace("%", "%%"),
            **field.metadata["kind"].arguments | field.metadata["arguments"],
        )


def _flag(settings_class, name):
    field = options_of(settings_class).get(name)
    return (field and field.metadata["flag"]) or f"--{name.replace('_', '-')}"


def _default(settings_class, field):
    """The default of an option for --help."""
    if isinstance(field.default, bool):
        flag = _flag(settings_class, field.name)
        return f" (default: {flag if field.default else flag.replace('--', '--no-')})"
    if not isinstance(field.default, (int, float, str, tuple)):
        return ""
    words = field.default if isinstance(field.default, tuple) else (field.default,)
    return f" (default: {' '.join(map(str, words))})"
