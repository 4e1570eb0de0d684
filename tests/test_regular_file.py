"""Files of others are opened without waiting, and only where they are files."""

import os
import signal
import socket

import pytest

from jaxflow import regular_file
from jaxflow.data.tables.read_table import read_table
from jaxflow.errors import InputError
from jaxflow.regular_file import identity_of, open_regular, read_regular, require_unchanged


def refusal(call, *arguments) -> str:
    with pytest.raises(InputError) as caught:
        call(*arguments)
    return str(caught.value)


@pytest.fixture
def soon():
    """Ends a test that waits for ever."""
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it waits"))
    signal.alarm(20)
    yield
    signal.alarm(0)


def test_a_file_and_a_link_to_one_are_read(tmp_path):
    (tmp_path / "rows").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("rows")
    assert read_regular(tmp_path / "rows", 3) == read_regular(str(tmp_path / "link"), 10) == b"abc"


@pytest.mark.usefixtures("soon")
def test_what_is_no_file_is_refused_without_waiting(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        found = {path: refusal(open_regular, path) for path in ("pipe", "socket", "/dev/zero", "folder", "gone")}
    assert found == {
        "pipe": "pipe: this is a named pipe, expected a file",
        "socket": "socket: this is a socket, expected a file",
        "/dev/zero": "/dev/zero: this is a device, expected a file",
        "folder": "folder: this is a directory, expected a file",
        "gone": "gone: there is no such file, expected a file",
    }
    (tmp_path / "file").touch()
    assert "there is no such file" in refusal(open_regular, "file/inner")


@pytest.mark.usefixtures("soon")
def test_a_file_that_becomes_a_pipe_while_it_is_opened_is_refused(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    looked = (tmp_path / "file").stat()
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", lambda *_, **__: looked)
        found = refusal(open_regular, tmp_path / "pipe")
    assert "this is a named pipe" in found


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_a_name_that_no_file_can_have_is_refused(name):
    assert "no file can have this name" in refusal(open_regular, name)


def test_a_file_that_is_too_long_is_not_read(tmp_path):
    with (tmp_path / "holes").open("wb") as file:
        file.truncate(1 << 40)
    assert refusal(read_regular, tmp_path / "holes", 100).endswith(
        "holes: the file has 1099511627776 bytes, expected a file of at most 100"
    )


def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    (tmp_path / "file").touch()

    def denied(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    assert "file: cannot be read (Permission denied), expected a file" in refusal(open_regular, tmp_path / "file")


def test_a_file_that_has_changed_is_recognised(tmp_path):
    path = tmp_path / "rows"

    def after(change) -> str:
        path.write_bytes(b"12345678")
        os.utime(path, ns=(0, 0))
        with open_regular(path) as file:
            known = identity_of(file)
            require_unchanged(path, file, known)
        change()
        with open_regular(path) as file:
            return refusal(require_unchanged, path, file, known)

    def replaced():
        (tmp_path / "other").write_bytes(b"12345678")
        os.utime(tmp_path / "other", ns=(0, 0))
        (tmp_path / "other").replace(path)

    assert "rows: the file has changed since it was first read (another file has taken its place)" in after(replaced)
    assert "(it had 8 bytes and now has 3)" in after(lambda: os.truncate(path, 3))
    assert "(it had 8 bytes and now has 9)" in after(lambda: path.write_bytes(b"123456789"))
    assert "(it has been written to)" in after(lambda: path.write_bytes(b"87654321"))


@pytest.mark.usefixtures("soon")
def test_a_file_whose_bytes_would_have_to_be_waited_for(tmp_path, monkeypatch):
    """Such as /proc/kmsg, which is a regular file; here a pipe is said to be one."""
    read, write = os.pipe()
    try:
        monkeypatch.setattr(regular_file, "_require_regular", lambda *_: None)
        sentence = f"/dev/fd/{read}: cannot be read (it would have to be waited for), expected a file"
        assert refusal(read_regular, f"/dev/fd/{read}", 10) == sentence
        with open_regular(f"/dev/fd/{read}") as file:
            for one in (file.read, lambda: file.read(1 << 20), file.readline):
                with pytest.raises(BlockingIOError, match="waited for"):
                    one()
        with pytest.raises(InputError, match="cannot be read as"):
            read_table(_link(tmp_path / "rows.csv", read), label=None)
    finally:
        os.close(read)
        os.close(write)


def _link(path, handle):
    path.symlink_to(f"/dev/fd/{handle}")
    return path
