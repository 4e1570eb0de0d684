import json

import pytest

from jaxflow.atomic_write import replacing, write_csv, write_json, write_text
from jaxflow.errors import InputError


def test_a_failure_in_the_middle_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "numbers.txt"
    path.write_text("old")

    def write_half():
        with replacing(path) as temporary:
            temporary.write_text("half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_new_file_appears_only_at_the_end(tmp_path):
    path = tmp_path / "new" / "folder" / "numbers.txt"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        # In the same folder, or the rename could cross file systems.
        assert temporary.parent == path.parent
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_the_file_has_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_text("")
    write_text("", tmp_path / "renamed")
    assert (tmp_path / "renamed").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_text_is_utf8_whatever_the_locale(tmp_path):
    write_text("µ\n", tmp_path / "text")
    assert (tmp_path / "text").read_bytes() == b"\xc2\xb5\n"


def test_json_refuses_what_json_cannot_express(tmp_path):
    path = tmp_path / "values.json"
    write_json({"a": [1, None]}, path)
    with pytest.raises(ValueError, match="Out of range float"):
        write_json({"a": float("nan")}, path)
    assert json.loads(path.read_text()) == {"a": [1, None]}


def test_a_table_is_csv_as_other_programs_write_it(tmp_path):
    write_csv(tmp_path / "table.csv", ("name", "value"), ((name, None) for name in ["a,b", 'µ"']))
    assert (tmp_path / "table.csv").read_bytes() == 'name,value\r\n"a,b",\r\n"µ""",\r\n'.encode()


def test_where_nothing_can_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/below\.txt cannot be written: "):
        write_text("", tmp_path / "file" / "below.txt")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"folder cannot be written: Is a directory"):
        write_text("", tmp_path / "folder")
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder"}


def test_a_lone_surrogate_is_written_as_its_escape(tmp_path):
    write_text("a\ud800é", tmp_path / "t.txt")
    assert (tmp_path / "t.txt").read_text(encoding="utf-8") == "a\\ud800é"
    write_json({"title": "\ud800"}, tmp_path / "t.json")
    assert json.loads((tmp_path / "t.json").read_text(encoding="utf-8")) == {"title": "\ud800"}
    write_csv(tmp_path / "t.csv", ["a"], [["\ud800"]])
    assert (tmp_path / "t.csv").read_text(encoding="utf-8").split() == ["a", "\\ud800"]
