import csv
import math

from jaxflow.training import History
from jaxflow.training.engine.records import mean_history, mean_row

ROW = {"learning_rate": 0.1, "gradient_norm": 1.0, "skipped_steps": 0, "seconds": 0.5, "best_loss": 1.0}


def row(epoch, train, valid):
    return {"epoch": epoch, "train_loss": train, "valid_loss": valid, **ROW}


def test_best_epoch_is_the_lowest_held_out_loss():
    history = History([row(1, 3.0, 2.0), row(2, 2.0, 1.5), row(3, 1.0, 1.7)])
    assert history.watched == "valid_loss"
    assert history.best_epoch == 2


def test_best_epoch_by_training_loss_without_held_out_data_and_past_nan():
    history = History([row(1, math.nan, None), row(2, 2.0, None), row(3, 2.0, None)])
    assert history.watched == "train_loss"
    assert history.best_epoch == 2


def test_csv_holds_every_row(tmp_path):
    History([row(1, 3.0, None), row(2, 2.0, 1.5)]).write_csv(tmp_path / "history.csv")
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert [row["valid_loss"] for row in rows] == ["", "1.5"]
    assert list(tmp_path.iterdir()) == [tmp_path / "history.csv"]


def test_members_as_one_row_are_means_of_what_is_finite_and_sums_of_skipped_steps():
    first = {"epoch": 2, "train_loss": 1.0, "valid_loss": math.inf, "seconds": None, "skipped_steps": 1}
    other = {"epoch": 2, "train_loss": 4.0, "valid_loss": 2.0, "seconds": None, "skipped_steps": 3}
    mean = {"epoch": 2, "train_loss": 2.5, "valid_loss": 2.0, "seconds": None, "skipped_steps": 4}
    assert mean_row([first, other]) == mean
    assert mean_row([first]) == first
    # A member that has stopped is no part of later epochs.
    members = [History([dict(first)]), History([dict(other), dict(other, epoch=3)])]
    assert mean_history(members).rows == [mean, dict(other, epoch=3)]
