"""What the end-to-end tests share. Tiny checkpoints are made by ``tiny``, which stands beside this file."""

from dataclasses import dataclass

import pytest

from smelt.cli import main


@dataclass(frozen=True)
class Answer:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory, so that recipes can name their models by relative paths."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def smelt_command(capsys):
    """Run the command line in this process."""

    def call(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as leaving:
            main([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        return Answer(leaving.value.code, shown.out, shown.err)

    return call
