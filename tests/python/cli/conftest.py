"""Runs commands in this process, over fakes of the library that remember how they were called."""

import io
import sys
from pathlib import Path

import pytest
from fake_library import FakeCollection, FakeEncoder, Outcome, Run

import taesr
from taesr.cli import main


@pytest.fixture
def fake_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put fakes in the place of the encoder and the collection."""
    # Through the dictionary, as asking for the attributes would load the real ones.
    monkeypatch.setitem(vars(taesr), "Encoder", FakeEncoder)
    monkeypatch.setitem(vars(taesr), "Collection", FakeCollection)
    FakeEncoder.loaded.clear()
    FakeEncoder.streams.clear()
    FakeCollection.opened.clear()
    FakeCollection.calls.clear()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs `taesr` with arguments and, if given, bytes on stdin."""

    def call(*arguments: str | Path, stdin: bytes = b"") -> Outcome:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call
