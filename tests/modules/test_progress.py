"""Progress in a terminal, a notebook and a log file."""

import io
import re
import sys

import pytest

from skvae import BetaVAE
from skvae.training import progress

SMALL = {"n_components": 2, "hidden_layer_sizes": (8,), "max_epochs": 5, "random_state": 0}


class Terminal(io.StringIO):
    def isatty(self):
        return True


every_stream = pytest.mark.parametrize("stream", [Terminal, io.StringIO])


@every_stream
def test_a_terminal_has_one_line_and_a_log_file_whole_lines(stream, X, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream())
    BetaVAE(**SMALL, verbose=1).fit(X)
    text = sys.stderr.getvalue()
    assert "5/5" in text
    if sys.stderr.isatty():
        assert text.count("\n") == 1  # at the end
        assert text.count("\r") > 1
    else:
        assert "\r" not in text
        assert all(line.strip() for line in text.splitlines())


@every_stream
def test_the_bar_shows_loss_kl_and_the_time_left(stream, X, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream())
    vae = BetaVAE(**SMALL, verbose=1).fit(X)
    last = re.split(r"[\r\n]+", sys.stderr.getvalue().strip())[-1]
    assert re.search(r"\[\d\d:\d\d<\d\d:\d\d", last)
    assert f"loss={vae.history_['loss'][-1]:.4g}" in last
    assert f"kl={vae.history_['kl'][-1]:.4g}" in last


def test_a_log_file_gets_a_line_an_interval_at_most(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    bar = progress.progress_bar(1000, "epoch")
    for _ in range(1000):
        bar.update()
    bar.close()
    lines = sys.stderr.getvalue().splitlines()
    assert len(lines) == 2  # the first and the last state
    assert lines[-1].startswith("1000/1000 epochs [")


def test_a_notebook_keeps_tqdms_own_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())

    class Notebook(progress.terminal_tqdm):
        pass

    monkeypatch.setattr(progress, "notebook_tqdm", Notebook)
    monkeypatch.setattr(progress, "tqdm", Notebook)
    bar = progress.progress_bar(3, "epoch")
    assert type(bar) is Notebook
    assert not isinstance(bar.fp, progress.Lines)
    bar.close()


def test_nothing_is_shown_by_default(X, capsys):
    BetaVAE(**SMALL).fit(X)
    assert capsys.readouterr() == ("", "")


def test_the_table_has_a_column_for_each_term_alone(X, capsys):
    BetaVAE(**SMALL, verbose=2).fit(X)
    header, *_ = capsys.readouterr().out.splitlines()
    assert "kl_by_component" not in header
    assert {"train_loss", "reconstruction", "kl", "kl_weight"} <= set(header.split())
