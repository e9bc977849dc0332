"""What somebody is told who types something wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from bluesky_streamdet.cli.main import main

ONE = "detectors: {one: {type: stins, source: {endpoints: [%s]}}}"
LAMBDA = "detectors: {one: {type: lambda, source: {endpoints: ['tcp://127.0.0.1:9', 'tcp://127.0.0.1:10']}}}"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["serve", "eigr"], "no detector of that name.\nDid you mean eiger?"),
        (["serve", "zzz"], "The catalog has: dhyana, eiger"),
        (["serve", "missing.yaml"], "missing.yaml.\nMend its name."),
        (["serve", "eiger", "--from", "tcp://localhost"], "'tcp://localhost' has no port from 1 to 65535"),
        (["serve", "eiger", "--from", "tcp://localhost:99999"], "'tcp://localhost:99999' has no port"),
        (["serve", "eiger", "--from", "tcp://:9999"], "write it as tcp://HOST:PORT"),
    ],
)
def test_a_wrong_command_line(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty.\nWrite its detectors under `detectors:`, each with a name and a type."),
        ("detectors:\n  - type: eiger\n", "line 1: detectors is [{'type': 'eiger'}]; it should be names, each with"),
        ("one:\n  clas: Eiger\n  dcu_host_purple: x\n", "line 2: there is no setting 'clas'; allowed: class, "),
        ("detectors: {a: {type: eiger, source: {endpoints: tcp://a:1}}}", "it should be a list, such as [tcp://a:1]"),
        (ONE % "tcp://a", "'tcp://a' has no port"),
        (ONE % "'tcp://a:1'" + "\n#" + "\ndetector: 1", "there is no setting detector; did you mean detectors?"),
        ("detectors: {a: {type: eiger}, b: {type: eiger}}", "holds several detectors: a, b.\nSay which one, behind"),
    ],
)
def test_a_wrong_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str) -> None:
    path = tmp_path / "hall.yaml"
    path.write_text(text)

    assert main(["serve", str(path)]) == 2
    assert said in capsys.readouterr().err
    assert main(["serve", str(tmp_path)]) == 2
    assert "is a folder.\nName the YAML file in it." in capsys.readouterr().err


def test_the_doctor_counts_modules(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("hall.yaml").write_text(LAMBDA)

    main(["doctor", "hall.yaml"])
    assert "source.endpoints names 2, and a lambda sends by 4" in capsys.readouterr().out


def test_the_doctor_looks_where_a_path_leads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "nothing/../../elsewhere"
    path = tmp_path / "hall.yaml"
    source = "source: {endpoints: ['tcp://127.0.0.1:9']}"
    path.write_text(f"detectors: {{one: {{type: stins, {source}, files: {{directory: {directory}}}}}}}")

    main(["doctor", str(path)])
    assert f"{tmp_path.parent / 'elsewhere'} will be made in {tmp_path.parent}" in capsys.readouterr().out
