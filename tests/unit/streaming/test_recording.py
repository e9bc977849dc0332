"""Recordings on disk: what was written comes back, what dranspose and others write is read, what is hostile is
refused."""

from __future__ import annotations

import gzip
import io
import tracemalloc
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import cbor2
import pytest
from cbor2 import CBORTag
from hypothesis import given
from hypothesis import strategies as st

from bluesky_streamdet.catalog import CODECS
from bluesky_streamdet.core.errors import ConfigError, FileTaken, MalformedMessage, WriteFailed
from bluesky_streamdet.core.events import Frame, SeriesStart
from bluesky_streamdet.streaming.recordfile import PIECE, RecordingWriter, read_recording
from bluesky_streamdet.streaming.sniff import codec_of
from tests.conftest import Recordings

MESSAGES = [[b'{"htype":"header"}'], [b'{"htype":"image"}', b"\x00" * 70_000], [b'{"htype":"series_end"}', b""]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stream.cbors"


def write(path: Path, messages: list[list[bytes]] = MESSAGES) -> None:
    with RecordingWriter(path, "eiger") as writer:
        for parts in messages:
            writer.write(parts, "STINS")


def parts_in(path: Path, stream: str | None = None) -> list[list[bytes]]:
    return [message.parts for message in read_recording(path, stream)]


def event(number: int, parts: list[bytes], *, outer: bool, tags: bool, time: object = None) -> bytes:
    """One item as dranspose's dump has it, with or without what may be missing."""
    stream: object = ["STINS", parts]
    whole: object = [number, {"det": CBORTag(42878, stream) if tags else stream}, *([] if time is None else [time])]
    whole = CBORTag(42877, whole) if tags else whole
    return cbor2.dumps(CBORTag(55799, whole) if outer else whole)


@pytest.mark.parametrize("name", ["stream.cbors", "stream.cbors.gz"])
def test_what_was_written_comes_back(tmp_path: Path, name: str) -> None:
    write(tmp_path / name)
    recorded = list(read_recording(tmp_path / name))
    assert [message.parts for message in recorded] == MESSAGES
    assert {(message.stream, message.kind) for message in recorded} == {("eiger", "STINS")}


def test_it_is_written_in_the_form_of_dranspose(path: Path) -> None:
    write(path, [[b"one", b"two"]])
    assert path.read_bytes().startswith(bytes.fromhex("d9d9f7 d9a77d 83 00 a1 65") + b"eiger")
    before = datetime.now(UTC)
    outer = cbor2.loads(path.read_bytes(), tag_hook=_value_of)
    number, streams, created = outer
    assert number == 0
    kind, parts = streams["eiger"]
    assert (kind, list(parts)) == ("STINS", [b"one", b"two"])
    assert created <= before


def _value_of(*arguments: object) -> object:
    return next(one for one in arguments if isinstance(one, CBORTag)).value


@pytest.mark.parametrize("outer", [False, True])
@pytest.mark.parametrize("tags", [False, True])
@pytest.mark.parametrize("time", [None, datetime(2026, 1, 1, tzinfo=UTC), 1.5, 7, CBORTag(1, 1.5)])
def test_the_forms_of_an_event_that_exist(path: Path, outer: bool, tags: bool, time: object) -> None:
    path.write_bytes(b"".join(event(n, parts, outer=outer, tags=tags, time=time) for n, parts in enumerate(MESSAGES)))
    assert parts_in(path) == MESSAGES


@pytest.mark.parametrize("outer", [False, True])
def test_plain_lists_of_parts(path: Path, outer: bool) -> None:
    items = [CBORTag(55799, parts) if outer else parts for parts in MESSAGES]
    path.write_bytes(b"".join(map(cbor2.dumps, items)))
    assert parts_in(path) == MESSAGES


@given(messages=st.lists(st.lists(st.binary(max_size=300), min_size=1, max_size=30), min_size=1, max_size=5))
def test_any_parts_come_back(tmp_path_factory: pytest.TempPathFactory, messages: list[list[bytes]]) -> None:
    path = tmp_path_factory.mktemp("recording") / "stream.cbors"
    write(path, messages)
    assert parts_in(path) == messages


def test_an_archive_is_read_member_by_member(tmp_path: Path) -> None:
    path = tmp_path / "stream.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b.cbors", cbor2.dumps([b"second"]))
        archive.writestr("a.cbors", cbor2.dumps([b"first"]))
    assert parts_in(path) == [[b"first"], [b"second"]]


def test_one_of_several_streams_is_chosen_by_name(path: Path) -> None:
    both = {name: CBORTag(42878, ["STINS", [name.encode()]]) for name in ("one", "two")}
    path.write_bytes(cbor2.dumps(CBORTag(42877, [0, both])))
    assert parts_in(path, "two") == [[b"two"]]
    with pytest.raises(ConfigError, match=r"'one' and 'two'.* --stream"):
        parts_in(path)


def test_a_folder_of_raw_parts(tmp_path: Path) -> None:
    for name in ("000007_001.raw", "000007_000.raw", "000010_000.raw", "notes.txt"):
        (tmp_path / name).write_bytes(name.encode())
    assert parts_in(tmp_path) == [[b"000007_000.raw", b"000007_001.raw"], [b"000010_000.raw"]]


def test_a_folder_that_lacks_a_part_or_holds_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no recording"):
        parts_in(tmp_path)
    (tmp_path / "000000_001.raw").touch()
    with pytest.raises(MalformedMessage, match="part missing"):
        parts_in(tmp_path)


@pytest.mark.parametrize("cut", [1, 20, 70_000, 70_060])
def test_a_file_that_is_cut_is_read_up_to_there_and_says_so(
    path: Path, cut: int, caplog: pytest.LogCaptureFixture
) -> None:
    write(path, MESSAGES[:2])
    path.write_bytes(path.read_bytes()[:-cut])
    assert parts_in(path) == MESSAGES[:1]
    assert "is cut in its last item" in caplog.text
    assert "the 1 messages before it are whole" in caplog.text


def test_a_gzipped_file_that_is_cut(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "stream.cbors.gz"
    path.write_bytes(gzip.compress(cbor2.dumps([b"whole"]))[:-8])
    assert parts_in(path) == [[b"whole"]]
    assert "is cut" in caplog.text


def test_what_was_flushed_can_be_read_while_it_is_recorded(path: Path) -> None:
    with RecordingWriter(path) as writer:
        writer.write(MESSAGES[0], "STINS")
        writer.flush()
        assert parts_in(path) == MESSAGES[:1]


def test_a_file_is_overwritten_only_when_asked(path: Path) -> None:
    write(path)
    with pytest.raises(FileTaken, match="--replace"):
        RecordingWriter(path)
    with RecordingWriter(path, replace=True) as writer:
        writer.write([b"new"], "STINS")
    assert parts_in(path) == [[b"new"]]


def test_a_recording_without_messages_leaves_no_file(path: Path) -> None:
    RecordingWriter(path).close()
    assert not path.exists()


def test_a_disk_that_refuses_is_named() -> None:
    with pytest.raises(WriteFailed, match="/dev/full"), RecordingWriter(Path("/dev/full"), replace=True) as writer:
        writer.write([bytes(100_000)], "STINS")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(WriteFailed, match="No such file or directory"):
        RecordingWriter(tmp_path / "nowhere" / "stream.cbors")
    with pytest.raises(ConfigError, match="There is no file"):
        parts_in(tmp_path / "nowhere.cbors")


HOSTILE = {
    "a terabyte": bytes.fromhex("81 5b 000000ffffffffff"),
    "a length beyond 2^63": bytes.fromhex("81 5b ffffffffffffffff"),
    "a billion parts": bytes.fromhex("9a 3fffffff 40"),
    "deep nesting": b"\x81" * 100_000,
    "no array": cbor2.dumps({"a": 1}),
    "an empty array": b"\x80",
    "indefinite length": bytes.fromhex("9f 41 00 ff"),
    "tags for ever": b"\xc6" * 50 + b"\x80",
    "text for parts": cbor2.dumps(["one", "two"]),
    "an event without streams": cbor2.dumps([0, 1, 2]),
    "a stream without type": cbor2.dumps([0, {"det": [[b"part"]]}]),
    "a name that is no text": bytes.fromhex("82 00 a1 61ff 82 61 41 81 40"),
    "a time that is an array": cbor2.dumps([0, {"det": ["STINS", [b"part"]]}, [1]]),
    "a simple value": b"\xf6",
    "JSON": b'{"htype": "header"}',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_with_name_and_place(path: Path, name: str) -> None:
    path.write_bytes(HOSTILE[name])
    with pytest.raises(MalformedMessage, match=rf"{path.name}.* near byte \d+"):
        parts_in(path)


def test_a_length_that_the_file_does_not_hold_takes_no_memory(path: Path) -> None:
    path.write_bytes(bytes.fromhex("81 5a 3f000000") + b"short")
    tracemalloc.start()
    try:
        assert parts_in(path) == []
        assert tracemalloc.get_traced_memory()[1] < 2 * PIECE
    finally:
        tracemalloc.stop()


def test_many_small_parts_may_not_make_a_large_message(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bluesky_streamdet.streaming.recordfile.LARGEST_MESSAGE", 1000)
    path.write_bytes(cbor2.dumps([bytes(600), bytes(600)]))
    with pytest.raises(MalformedMessage, match="more than 1000 bytes"):
        parts_in(path)


@pytest.mark.parametrize("content", [b"PK\x03\x04 and no more", b"\x1f\x8b\x08 and no more"])
def test_a_damaged_archive_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(MalformedMessage, match="damaged archive"):
        parts_in(path)


@given(st.binary(max_size=200))
def test_noise_gives_messages_or_one_kind_of_error(tmp_path_factory: pytest.TempPathFactory, noise: bytes) -> None:
    path = tmp_path_factory.mktemp("noise") / "stream.cbors"
    path.write_bytes(noise)
    try:
        messages = parts_in(path)
    except MalformedMessage:
        return
    assert all(isinstance(part, bytes) for parts in messages for part in parts)


def test_reading_keeps_one_message_in_memory(path: Path) -> None:
    size = 1 << 20
    with path.open("wb") as file:
        for _ in range(20):
            file.write(cbor2.dumps([bytes(size)]))
    tracemalloc.start()
    try:
        assert sum(len(message.parts[0]) for message in read_recording(path)) == 20 * size
        assert tracemalloc.get_traced_memory()[1] < 4 * size
    finally:
        tracemalloc.stop()


def test_cbor2_in_its_older_form_reads_what_we_write(path: Path) -> None:
    """`cbor2.load` one after another, as dranspose does."""
    write(path)
    file = io.BytesIO(path.read_bytes())
    numbers = [cbor2.load(file, tag_hook=_value_of)[0] for _ in MESSAGES]
    assert numbers == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "count", "parts", "codec"),
    [
        ("eiger1/eiger1-1M-9frames.cbors.zip", 10, [9, *[4] * 9], "dectris_v1"),
        ("xspress3/xspress3-multipart.cbors", 7, [1, *[3] * 5, 1], "xspress3-pickled"),
        ("xspress3/xspress3-dump.cbors", 62, [1] * 62, "xspress3-pickled"),
        ("pco/pco-50frames", 50, [2] * 50, "array-1.0"),
    ],
)
def test_recordings_of_real_detectors(
    test_data: Recordings, name: str, count: int, parts: list[int], codec: str
) -> None:
    messages = parts_in(test_data / name)
    assert len(messages) == count
    assert [len(message) for message in messages] == parts
    assert codec_of(messages[0]) == codec


def test_the_recorded_eiger_decodes(test_data: Recordings) -> None:
    decoder = CODECS["dectris_v1"].decoder()
    messages = parts_in(test_data / "eiger1/eiger1-1M-9frames.cbors.zip")
    events = [one for parts in messages for one in decoder.decode(parts, 0)]
    assert isinstance(events[0], SeriesStart)
    frames = [one for one in events if isinstance(one, Frame)]
    assert [one.number for one in frames] == list(range(9))
