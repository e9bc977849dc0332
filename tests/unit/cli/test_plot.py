"""What `streamdet plot` is asked wrongly."""

from __future__ import annotations

import pytest

from bluesky_streamdet.cli.main import main


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pie", "--save", "x.png"], "There is no plot 'pie'"),
        (["map", "--address", "here", "--save", "x.png"], "is no address of documents"),
        (["map", "--path-map", "nowhere", "--save", "x.png"], "is none"),
        (["map", "--correction", "half", "--save", "x.png"], "no correction 'half'"),
        (["image", "--frames", "somewhere", "--save", "x.png"], "no frames at 'somewhere'"),
        (["image"], "no display for a window"),
    ],
)
def test_what_it_refuses(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", *words]) == 2
    assert said in capsys.readouterr().err


def test_it_ends_after_a_while(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", "map", "--save", "x.png", "--seconds", "0"]) == 0
    assert "0 pictures" in capsys.readouterr().out
