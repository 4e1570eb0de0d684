"""`jaxflow inspect` tells what each column holds, and its config is one that `train` can carry out."""

import numpy as np
import pytest
import yaml

from jaxflow.commands import inspect
from jaxflow.data import ColumnsSpec, DataSpec, load_dataset
from jaxflow.data.inspect_table import inspect_table, suggested
from jaxflow.errors import InputError

ROWS = 400


@pytest.fixture
def bank(tmp_path):
    """A file as a bank might have one: identifiers, dates, heavy tails, gaps, texts, a constant and labels."""
    rng = np.random.default_rng(0)
    columns = {
        "id": [f"T{number:06d}" for number in range(ROWS)],
        "number": [str(1000 + number) for number in range(ROWS)],
        "when": [f"2024-03-{1 + number % 28:02d} 12:00:00" for number in range(ROWS)],
        "amount": [f"{value:.2f}" for value in np.exp(3 * rng.normal(size=ROWS))],
        "age": [str(value) if value > 20 else "" for value in rng.integers(18, 80, ROWS)],
        "kind": ["card" if number % 3 else "cash" for number in range(ROWS - 1)] + ["cheque"],
        "bank": ["7"] * ROWS,
        "Fraud": [str(int(number % 50 == 0)) for number in range(ROWS)],
    }
    path = tmp_path / "bank.csv"
    lines = [";".join(columns), *(";".join(row) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_each_column_is_told_for_what_it_is(bank):
    rows, facts = inspect_table(bank)
    assert rows == ROWS
    found = {fact.name: fact for fact in facts}
    assert list(found) == ["id", "number", "when", "amount", "age", "kind", "bank", "Fraud"]
    assert found["id"].odd.startswith(found["number"].odd)
    assert found["number"].odd == "an identifier? nearly every row has a value of its own: leave it out"
    assert found["when"].odd == "dates or times: make numbers of them, such as columns of the hour and the weekday"
    assert "standard deviations of most rows: columns.tails = auto" in found["amount"].odd
    assert (found["age"].missing or 0) > 0
    assert found["age"].kind == "discrete"
    assert found["kind"].values == "card 66%, cash 33%, cheque 0%"
    assert found["kind"].odd == "1 value in fewer than 5 rows"
    assert found["bank"].odd.startswith("constant")
    assert found["Fraud"].odd == "labels? --label Fraud"
    assert [fact.name for fact in facts if not fact.usable] == ["id", "number", "when"]


def test_its_config_can_be_carried_out(bank):
    _, facts = inspect_table(bank)
    config = yaml.safe_load(suggested(bank, facts))
    assert config["data"]["label"] == "Fraud"
    assert config["data"]["features"] == ["amount", "age", "kind", "bank"]
    assert config["columns"] == {"missing": "median", "tails": "auto"}
    dataset = load_dataset(DataSpec(**config["data"]), columns=ColumnsSpec(**config["columns"]))
    assert dataset.x.shape == (ROWS, 4)
    assert dataset.y is not None
    assert dataset.y.sum() == 8


def test_the_command_prints_a_table_and_a_config(bank, capsys):
    inspect.main([str(bank), "--label", "Fraud"])
    printed = capsys.readouterr().out
    assert "bank.csv: 400 rows, 8 columns" in printed
    assert "A config to begin with:" in printed
    assert "    columns: {missing: median, tails: auto}" in printed


def test_columns_without_a_name_are_told(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(",,b\n1,2,0.5\n3,4,1.5\n")
    _, facts = inspect_table(path)
    assert [fact.odd for fact in facts] == ["has no name in the first line"] * 2 + [""]


@pytest.mark.parametrize(
    ("content", "arguments", "sentence"),
    [
        ("a,b\n1,2\n", ["--label", "B"], "label column B is missing, did you mean b?"),
        ("a,b\n", [], "there are no rows"),
        ("when\n2024-01-01\n2024-01-02\n", [], "dates or times"),
    ],
)
def test_what_cannot_be_inspected_is_said(tmp_path, content, arguments, sentence):
    path = tmp_path / "a.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=sentence.replace("?", r"\?")):
        inspect.main([str(path), *arguments])
