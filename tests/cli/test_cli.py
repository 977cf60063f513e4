"""What all scripts share: how they print and how they end."""

import io
import sys

import pytest

from mpn.cli.script import in_words, run
from mpn.errors import UserError


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_printing_never_fails_for_want_of_an_encoding(monkeypatch, encoding):
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding) for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)

    def main(argv):
        print("結果 caf\udce9")
        raise UserError("cannot read 結果/\udce9.jpg")

    with pytest.raises(SystemExit) as caught:
        run(main, [])
    assert caught.value.code == 1
    for stream in streams.values():
        stream.flush()
    assert b"\\udce9" in streams["stdout"].buffer.getvalue()
    assert streams["stderr"].buffer.getvalue().startswith(b"error: cannot read")


def test_errors_of_files_become_a_sentence_with_the_name():
    assert in_words(UserError("text")) == "text"
    assert in_words(OSError(28, "No space left on device", "a/b")).startswith("cannot read or write 'a/b': No space")
