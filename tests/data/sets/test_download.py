import hashlib
import http.server
import logging
import socket
import threading

import pooch
import pytest
import requests

from jaxflow.data.sets.download import fetch, local_file
from jaxflow.errors import InputError

CONTENT = b"some bytes\n" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT as /good.bin, the first half of it as if it were whole as /cut.bin, and nothing else."""

    requests = 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/sets"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        assert isinstance(self.server, Server)
        self.server.requests += 1
        if self.path not in ("/sets/good.bin", "/sets/cut.bin"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT if self.path.endswith("good.bin") else CONTENT[: len(CONTENT) // 2])

    def log_message(self, format, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("JAXFLOW_DATA", raising=False)
    return tmp_path / "cache" / "jaxflow" / "sets"


@pytest.fixture
def log():
    """What pooch tells of; it has a level and a stream of its own, which pytest does not see."""
    told: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record):
            told.append(record.getMessage())

    logger, handler = pooch.get_logger(), Handler()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield told
    logger.setLevel(level)
    logger.removeHandler(handler)


def files(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def refused(file, sha256, base_url):
    with pytest.raises(InputError) as error:
        fetch(file, sha256, folder="sets", base_url=base_url)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_good_file_is_downloaded_once_and_in_silence(server, cache, log):
    path = fetch("good.bin", SHA256, folder="sets", base_url=server.url)
    assert path == cache / "good.bin"
    assert path.read_bytes() == CONTENT
    assert fetch("good.bin", SHA256, folder="sets", base_url=server.url + "/") == path
    assert server.requests == 1
    assert files(cache) == ["good.bin"]
    assert log == []


def test_a_damaged_file_in_the_cache_is_downloaded_again(server, cache):
    cache.mkdir(parents=True)
    (cache / "good.bin").write_bytes(b"damaged")
    assert fetch("good.bin", SHA256, folder="sets", base_url=server.url).read_bytes() == CONTENT
    assert server.requests == 1


def test_a_wrong_checksum_leaves_nothing(server, cache):
    expected = "0" * 64
    assert refused("good.bin", expected, server.url) == (
        f"{server.url}/good.bin: SHA-256 is {SHA256}, expected {expected}"
    )
    assert server.requests == 1
    assert files(cache) == []


def test_an_interrupted_download_leaves_nothing(server, cache):
    assert refused("cut.bin", SHA256, server.url) == (
        f"{server.url}/cut.bin: the download failed (the connection was cut off); "
        "a copy can be put into $JAXFLOW_DATA/sets"
    )
    assert files(cache) == []


def test_a_file_that_the_server_does_not_have(server, cache, monkeypatch):
    closed, close = [], requests.Response.close
    monkeypatch.setattr(requests.Response, "close", lambda self: closed.append(self.status_code) or close(self))
    assert f"{server.url}/none.bin: the download failed (HTTP 404); " in refused("none.bin", SHA256, server.url)
    assert files(cache) == []
    # Its body is not read, so the connection stays open until someone closes it.
    assert closed == [404]


def test_a_server_that_is_gone(cache, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}/sets"
    assert f"{url}/good.bin: the download failed (no connection); " in refused("good.bin", SHA256, url)
    assert files(cache) == []


def test_a_cache_that_cannot_be_written(server, cache):
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where the folder should be")
    assert refused("good.bin", SHA256, server.url).startswith(f"{cache}: the download cannot be stored (")


def test_the_data_directory_comes_first(server, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXFLOW_DATA", str(tmp_path / "data"))
    file = tmp_path / "data" / "sets" / "good.bin"
    assert local_file("sets", "good.bin") == file
    file.parent.mkdir(parents=True)
    file.write_bytes(CONTENT)
    assert fetch("good.bin", SHA256, folder="sets", base_url=server.url) == file
    file.write_bytes(b"other")
    got = hashlib.sha256(b"other").hexdigest()
    assert refused("good.bin", SHA256, server.url) == f"{file}: SHA-256 is {got}, expected {SHA256}"
    assert server.requests == 0
    file.unlink()
    assert fetch("good.bin", SHA256, folder="sets", base_url=server.url) == cache / "good.bin"


@pytest.mark.parametrize("value", [None, ""])
def test_without_a_data_directory(value, monkeypatch):
    if value is None:
        monkeypatch.delenv("JAXFLOW_DATA", raising=False)
    else:
        monkeypatch.setenv("JAXFLOW_DATA", value)
    assert local_file("sets", "good.bin") is None
