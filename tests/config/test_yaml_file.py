import math
import os

import pytest

from jaxflow.config.yaml_file import parse_value, read_config
from jaxflow.errors import InputError


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "a.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        ("-1.5e+2", -150.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("+3", 3),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        ("-.inf", -math.inf),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("on", "on"),
        ("No", "No"),
        ("tRue", "tRue"),
        ("2020-01-01", "2020-01-01"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("1e", "1e"),
        ("0x", "0x"),
        ("'1'", "1"),
        ('"1e-3"', "1e-3"),
        ("!!str 1", "1"),
        ("[1, [2.0, x], {a: true}]", [1, [2.0, "x"], {"a": True}]),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(written, text, value):
    got = read_config(written(f"key: {text}\n"))["key"]
    assert got == value
    assert type(got) is type(value)
    assert parse_value(text) == value


def test_nan_is_a_number(written):
    assert math.isnan(read_config(written("a: .nan"))["a"])


def test_an_alias_is_a_copy(written):
    values = read_config(written("a: &x {b: [1]}\nc: *x\n"))
    assert values == {"a": {"b": [1]}, "c": {"b": [1]}}
    values["a"]["b"].append(2)
    assert values["c"] == {"b": [1]}


def test_a_byte_order_mark_and_empty_values_are_read(written):
    assert read_config(written("\ufeffa:\nb: ''\n")) == {"a": None, "b": ""}


MISTAKES = {
    ": the file is empty, expected a mapping of keys to values": ["", "# only this\n", "---\n...\n", "null\n"],
    ": the file holds a list, expected a mapping of keys to values": ["- 1\n", "[]"],
    ": the file holds the single value 3, expected a mapping of keys to values": ["3\n"],
    ", line 4, column 3: the key b appears twice (first in line 2)": ["a:\n  b: 1\n  c: 2\n  b: 1\n"],
    ", line 2, column 1: the key a appears twice (first in line 1)": ["a: 1\n'a': 2\n"],
    ", line 2, column 2: while parsing a flow sequence, expected ',' or ']', but got ':'": ["a: [1, 2\nb: 3\n"],
    ", line 1, column 5: mapping values are not allowed here": ["a: b: c\n"],
    ", line 2, column 1: expected a single document in the stream, but found another document": ["a: 1\n---\nb: 1\n"],
    ", line 1, column 4: the tag !!python/name:os.system is not supported here": ["a: !!python/name:os.system x\n"],
    ", line 1, column 4: the tag !!map is not supported here": ["a: !!map x\n"],
    ", line 1, column 4: the tag !mine is not supported here": ["a: !mine [1]\n"],
    ", line 1, column 4: 'x' is no int": ["a: !!int x\n"],
    ", line 1, column 4: this value contains itself": ["a: &x {b: *x}\n", "a: &x [[*x]]\n"],
    ", line 1, column 3: a key must be a single value, not a list or a mapping": ["? [1]\n: 2\n"],
    ", line 1, column 4: the number has too many digits": [f"a: {'1' * 5000}\n"],
    ", line 2, column 7: this names a character or a version of YAML that there is none of": [
        'a: 1\nb: "\\U00110000"\n',
        'a: 1\nb: "\\UFFFFFFFF"\n',
    ],
    ", line 1, column 7: this names a character or a version of YAML that there is none of": [
        f"%YAML {'9' * 5000}.1\n---\na: 1\n",
    ],
    ", line 1, column 9: this names a character or a version of YAML that there is none of": [
        f"%YAML 1.{'9' * 5000}\n---\na: 1\n",
    ],
    ": byte 3 is not UTF-8 text, expected a YAML file": [b"a: \xff\n"],
    ": character 3 is #x0000: special characters are not allowed": [b"a: \x00\n"],
}


@pytest.mark.parametrize(
    ("sentence", "text"), [(sentence, text) for sentence, texts in MISTAKES.items() for text in texts]
)
def test_mistakes_end_in_one_sentence(written, sentence, text):
    path = written(text)
    with pytest.raises(InputError) as error:
        read_config(path)
    assert str(error.value) == f"{path}{sentence}"


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"no\.yaml: there is no such file, expected a YAML file$"):
        read_config(tmp_path / "no.yaml")
    (tmp_path / "a.yaml").write_text("a: 1")
    with pytest.raises(InputError, match="there is no such file"):
        read_config(tmp_path / "a.yaml" / "b.yaml")
    with pytest.raises(InputError, match=r": this is a directory, expected a YAML file$"):
        read_config(str(tmp_path))


def test_a_pipe_is_read_as_well_as_a_file():
    receiving, sending = os.pipe()
    with os.fdopen(sending, "w") as stream:
        stream.write("a: 1e-3\n")
    assert read_config(f"/dev/fd/{receiving}") == {"a": 1e-3}
    os.close(receiving)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", r"the value is empty \(write null for none\)"),
        ("  ", "the value is empty"),
        ("[64", r"'\[64' is not a YAML value \(while parsing a flow sequence, expected ',' or '\]'"),
        ("{a: 1, a: 2}", r"is not a YAML value \(the key a appears twice \(first in line 1\)\)$"),
        ("\x00", r"is not a YAML value \(character 0 is #x0000: special"),
    ],
)
def test_a_value_that_is_no_yaml(text, reason):
    with pytest.raises(InputError, match=reason):
        parse_value(text)


def laughs(levels: int) -> str:
    """Nine times nine times nine values, in a line a level."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (laughs(9), "there are more than 20000 values"),
        ("a: [" + "1, " * 20_000 + "]", "there are more than 20000 values"),
        ("a: " + "[" * 100_000, "lists and mappings lie within each other more than 64 deep"),
        ("{a: " * 2000, "lists and mappings lie within each other more than 64 deep"),
        ("- " * 2000, "lists and mappings lie within each other more than 64 deep"),
        (
            "\n".join(f"a{n}: &a{n} {'[' * 9}{f'*a{n - 1}' if n else 1}{']' * 9}" for n in range(200)),
            "lists and mappings lie within each other more than 64 deep",
        ),
        ("a: 0x" + "f" * 5000, "the number has too many digits"),
        ("a: 0o" + "7" * 5000, "the number has too many digits"),
        ("a: {b: 1" + "0" * 400 + "}", "the number has too many digits"),
        ('a: {title: "\\ud800"}', "the text of a.title holds the character #xd800, expected one to be shown"),
        ('"\\0": 1', "this text holds the character #x0000, expected one to be shown"),
        ('path: "a\\0.csv"', "the text of path holds the character #x0000"),
        ('title: "\\e[2J"', "the text of title holds the character #x001b"),
        ("a: !!int " + "x" * 300, "is no int"),
        ("a: !" + "x" * 100_000 + " 1", "is not supported here"),
        ("x" * 1000 + ": 1\n" + "x" * 1000 + ": 1\n", "appears twice (first in line 1)"),
        ("x" * 200_000, "the file holds the single value 'xxx"),
        (" " * (1 << 18) + "a: 1", "the file has 262148 bytes, expected a YAML file of at most 262144"),
    ],
    ids=lambda value: value[:40],
)
def test_what_is_larger_than_any_configuration_is_refused_before_it_is_built(text, reason, tmp_path):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        read_config(tmp_path / "c.yaml")
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 500


def test_what_is_large_and_fine_is_read(tmp_path):
    deep = "[" * 60 + "1" + "]" * 60
    names = ", ".join(f"column {number}" for number in range(9000))
    (tmp_path / "c.yaml").write_text(f"a: {deep}\nnames: [{names}]\nb: &b [1, 2]\nc: [*b, *b]\nd: 1{'0' * 300}\n")
    values = read_config(tmp_path / "c.yaml")
    assert len(values["names"]) == 9000
    assert values["c"] == [[1, 2], [1, 2]]
    assert values["d"] == 10**300
    (tmp_path / "c.yaml").write_text("title: 'é \U0001f600 \u200b \\e'\n")
    assert read_config(tmp_path / "c.yaml") == {"title": "é \U0001f600 \u200b \\e"}
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="this is a named pipe, expected a YAML file"):
        read_config(tmp_path / "pipe")


@pytest.mark.parametrize(
    ("text", "shown"), [("1: 2", "1"), ("~: 2", "None"), ("a: 1\ntrue: 2", "True"), (".5: x", "0.5")]
)
def test_a_key_that_is_no_text_is_named(tmp_path, text, shown):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(InputError, match=rf"c.yaml: the key {shown} is no text, expected the name of a setting$"):
        read_config(tmp_path / "c.yaml")
