from __future__ import annotations

from pathlib import Path

import pytest

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.service import keys

URL = "http://127.0.0.1:8010"
LONG_ENOUGH = "0123456789abcdef"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path)}


def test_a_new_key_lies_where_its_owner_finds_it(environ: dict[str, str]) -> None:
    key = keys.make(8010, environ=environ)

    assert keys.find(URL, environ) == keys.find("http://localhost:8010/", environ) == key.text
    assert key.file is not None
    assert key.file.stat().st_mode & 0o777 == 0o600
    assert key.file.parent.stat().st_mode & 0o777 == 0o700


def test_the_folder_of_the_session_goes_first(environ: dict[str, str], tmp_path: Path) -> None:
    session = tmp_path / "run"
    session.mkdir()
    key = keys.make(8010, environ={**environ, "XDG_RUNTIME_DIR": str(session)})

    assert key.file == session / "streamdet" / "key-8010"


def test_a_client_without_the_session_finds_the_key_elsewhere(environ: dict[str, str], tmp_path: Path) -> None:
    key = keys.make(8010, environ=environ)

    assert keys.find(URL, {**environ, "XDG_RUNTIME_DIR": str(tmp_path)}) == key.text


def test_each_start_makes_another_key(environ: dict[str, str]) -> None:
    assert keys.make(8010, environ=environ).text != keys.make(8010, environ=environ).text


def test_each_port_has_its_own(environ: dict[str, str]) -> None:
    keys.make(8010, environ=environ)

    assert keys.find("http://127.0.0.1:8011", environ) is None


def test_the_key_is_not_for_other_machines(environ: dict[str, str]) -> None:
    keys.make(8010, environ=environ)

    assert keys.find("http://beamline:8010", environ) is None


def test_the_file_goes_with_the_service(environ: dict[str, str]) -> None:
    key = keys.make(8010, environ=environ)
    key.remove()
    key.remove()

    assert keys.find(URL, environ) is None


def test_a_service_leaves_the_key_of_its_successor(environ: dict[str, str]) -> None:
    first, second = keys.make(8010, environ=environ), keys.make(8010, environ=environ)
    first.remove()

    assert keys.find(URL, environ) == second.text


def test_a_key_that_others_can_read_is_not_trusted(environ: dict[str, str]) -> None:
    key = keys.make(8010, environ=environ)
    assert key.file is not None
    key.file.chmod(0o644)

    assert keys.find(URL, environ) is None


def test_a_link_is_not_followed(environ: dict[str, str], tmp_path: Path) -> None:
    key = keys.make(8010, environ=environ)
    assert key.file is not None
    target = tmp_path / "target"
    target.write_text("precious")
    key.file.unlink()
    key.file.symlink_to(target)

    assert keys.find(URL, environ) is None
    keys.make(8010, environ=environ)
    assert target.read_text() == "precious"


def test_the_environment_goes_first_and_is_not_copied(environ: dict[str, str]) -> None:
    key = keys.make(8010, environ={**environ, "STREAMDET_API_KEY": LONG_ENOUGH})

    assert (key.text, key.file) == (LONG_ENOUGH, None)
    assert keys.find("http://far:1", {"STREAMDET_API_KEY": LONG_ENOUGH}) == LONG_ENOUGH


def test_a_configured_file(environ: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(LONG_ENOUGH + "\n")
    file.chmod(0o600)
    key = keys.make(8010, file, environ)
    key.remove()

    assert (key.text, file.exists()) == (LONG_ENOUGH, True)


def test_a_configured_file_must_be_private(environ: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(LONG_ENOUGH)
    file.chmod(0o640)

    with pytest.raises(ConfigError, match="chmod 600"):
        keys.make(8010, file, environ)


@pytest.mark.parametrize("text", ["", "short", "0123456789 abcdef", "0123456789abcdeé", "0123456789abcdef\x07"])
def test_refuses_keys_that_are_no_keys(text: str) -> None:
    with pytest.raises(ConfigError, match="no usable API key"):
        keys.make(8010, environ={"STREAMDET_API_KEY": text})


def test_a_configured_file_that_is_not_there(tmp_path: Path, environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="can't be read"):
        keys.make(8010, tmp_path / "none", environ)


def test_a_place_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / ".local").write_text("in the way")

    with pytest.raises(ConfigError, match="STREAMDET_API_KEY"):
        keys.make(8010, environ={"HOME": str(tmp_path)})


def test_fits() -> None:
    key = keys.ApiKey(LONG_ENOUGH)

    assert key.fits(LONG_ENOUGH)
    assert not key.fits(LONG_ENOUGH + "x")
    assert not key.fits("é")
