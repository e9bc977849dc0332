"""Whose files and folders are."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

import pytest
from pydantic import ValidationError

from bluesky_streamdet.core.errors import PathRefused
from bluesky_streamdet.streaming.files.access import Access
from bluesky_streamdet.streaming.files.config import FileConfig
from bluesky_streamdet.streaming.files.ownership import Ownership, group_number, group_of, user_number

NOBODY = pwd.getpwnam("nobody")


def test_names_and_numbers() -> None:
    config = FileConfig(owner="nobody", group=NOBODY.pw_gid, mode="0640", folder_mode="2750")

    assert Access.of(config).ownership == Ownership(NOBODY.pw_uid, NOBODY.pw_gid, 0o640, 0o2750)
    assert Access.of(config, user=NOBODY.pw_uid).ownership.group == NOBODY.pw_gid
    assert user_number("1234") == user_number(1234) == 1234
    assert group_number(grp.getgrgid(0).gr_name) == 0
    assert group_of(54321) == 54321, "of a user whom nobody knows"


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ({"owner": "no-such-user"}, "there is no user 'no-such-user' on this machine"),
        ({"group": "no-such-group"}, "there is no group 'no-such-group'"),
        ({"owner": -1}, "-1 is no number of a user"),
        ({"mode": "rw"}, "mode"),
        ({"folder_mode": "99"}, "folder_mode"),
        ({"mode": 0o640}, 'between quotes, such as "0640"'),
        ({"folder_mode": 750}, "between quotes"),
        ({"name": "%n"}, "a % that is no index"),
        ({"name": "../{id}"}, "leads out of the data directory"),
        ({"swmr": "perhaps"}, "swmr"),
        ({"locking": "auto"}, "locking"),
    ],
)
def test_what_is_wrong_is_said_when_it_is_read(setting: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        FileConfig.model_validate(setting)


def test_on_and_off_as_yaml_has_them() -> None:
    config = FileConfig.model_validate({"swmr": False, "locking": True})

    assert (config.swmr, config.locking) == ("off", "on")


def test_only_root_gives_files_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getegid", lambda: 1000)
    monkeypatch.setattr(os, "getgroups", lambda: [1001])

    assert Ownership(user=1000, group=1001).trouble() == ""
    with pytest.raises(PathRefused, match=r"only root may give files to another user, here nobody"):
        Ownership(user=NOBODY.pw_uid).check()
    with pytest.raises(PathRefused, match=r"no member of the group .*54321"):
        Ownership(group=54321).check()


def test_new_folders_have_their_mode(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        Ownership(folder_mode=0o2755).make_folder(tmp_path / "a" / "b")
        Ownership(folder_mode=0o700).make_folder(tmp_path / "a" / "b")
    finally:
        os.umask(old)

    assert [(tmp_path / one).stat().st_mode & 0o7777 for one in ("a", "a/b")] == [0o2755, 0o2755]
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        Ownership().make_folder(tmp_path / "file" / "c")
    with pytest.raises(NotADirectoryError):
        Ownership().make_folder(tmp_path / "file")


@pytest.mark.root
def test_files_and_folders_of_somebody_else(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to give files away")
    access = Access(ownership=Ownership(NOBODY.pw_uid, NOBODY.pw_gid, 0o640, 0o750))
    access.ownership.make_folder(tmp_path / "a")
    access.create(tmp_path / "a" / "scan.h5").close()

    for name, mode in (("a", 0o750), ("a/scan.h5", 0o640)):
        status = (tmp_path / name).stat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (NOBODY.pw_uid, NOBODY.pw_gid, mode)
