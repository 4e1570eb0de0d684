"""One door to every data set: by name, or a file of the user."""

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from jaxflow.config.spec import Spec
from jaxflow.data.columns.columns_spec import ColumnsSpec
from jaxflow.data.dataset import Dataset, require_distinct
from jaxflow.data.sets.adbench import adbench_files, load_adbench
from jaxflow.data.sets.card_transdata import load_card_transdata
from jaxflow.data.sets.nsl_kdd import load_nsl_kdd
from jaxflow.data.sets.sklearn_sets import breast_cancer, digits, wine
from jaxflow.data.sets.toy import TOY_DENSITIES, gaussian_lesson, toy_dataset
from jaxflow.data.tables.csv.dialect import CsvOptions, DecimalMark, Encoding, Separator
from jaxflow.data.tables.read_table import read_table
from jaxflow.errors import InputError

_REAL: dict[str, Callable[[], Dataset]] = {
    "breast_cancer": breast_cancer,
    "wine": wine,
    "digits": digits,
    "card_transdata": load_card_transdata,
    "nsl_kdd": load_nsl_kdd,
}
_LESSON = "gaussian_lesson"
_ADBENCH = "adbench/"


def dataset_names() -> tuple[str, ...]:
    """Every name that `load_dataset` knows."""
    return (*_REAL, *TOY_DENSITIES, _LESSON, *(f"{_ADBENCH}{name}" for name in adbench_files()))


class DataSpec(Spec):
    """Which data: a data set of the registry (`name`) or a file of the user (`path`), never both.

    An option that does not apply to the data set is refused; None means that it is not given. Only for `label` of a
    file None is a value of its own (no labels), and not giving it means "label".

    >>> load_dataset(DataSpec(name="two_moons")).x.shape[1]
    2
    """

    name: str | None = Field(
        default=None, description="a data set of the registry, such as breast_cancer or adbench/thyroid"
    )
    path: Path | None = Field(
        default=None,
        description="a file of your own: .csv, .csv.gz, .parquet or .npz; with stream also a directory, or .npy",
    )
    stream: bool = Field(
        default=False,
        description="read the path through a buffer instead of into memory; all its rows count as normal",
    )
    buffer_rows: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000_000,
        description="stream: rows in memory at once, shuffled among each other (default 262144)",
    )
    label: str | None = Field(
        default=None, description="label column of your file, 0 normal and 1 anomaly (default: label; null: no labels)"
    )
    features: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="columns to use, in this order (default: every column but the label)"
    )
    separator: Separator = None
    decimal: DecimalMark = None
    encoding: Encoding = None
    size: int | None = Field(
        default=None,
        ge=1,
        le=10_000_000,
        description="number of normal points of a made data set (default 2000; lesson 200)",
    )
    anomaly_fraction: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="anomalies of a made data set, as a fraction of its normal points (default 0.1; lesson 0.05)",
    )
    subtle: bool | None = Field(
        default=None, description="gaussian_lesson: outliers nearer to the normal points (default no)"
    )

    @model_validator(mode="before")
    @classmethod
    def _default_label_of_a_file(cls, values: Any) -> Any:
        # Here and not as the field's default: then a label that was given could not be told from one that was not,
        # and a spec that was saved and read again would differ.
        if not isinstance(values, Mapping) or values.get("path") is None or values.get("name") is not None:
            return values
        if values.get("stream"):
            return values
        return {"label": "label", **values}

    @field_validator("name")
    @classmethod
    def _known_name(cls, name: str | None) -> str | None:
        if name is not None and name not in dataset_names():
            raise ValueError(_unknown(name))
        return name

    @field_validator("label")
    @classmethod
    def _label_of_a_file(cls, label: str | None, info: Any) -> str | None:
        if label is not None and info.data.get("name") is not None:
            raise ValueError(f"expected no value, as {info.data['name']} has labels of its own")
        return label

    @field_validator("features")
    @classmethod
    def _different_features(cls, features: tuple[str, ...] | None, info: Any) -> tuple[str, ...] | None:
        if features is not None:
            require_distinct(features, "feature")
            if info.data.get("label") in features:
                raise ValueError(f"expected features only, and {info.data['label']} is the label")
        return features

    @field_validator("separator", "decimal", "encoding")
    @classmethod
    def _option_of_a_file(cls, value: str | None, info: Any) -> str | None:
        if value is not None and info.data.get("name") is not None:
            raise ValueError(f"expected no value, as {info.data['name']} is no CSV file")
        return value

    @field_validator("size", "anomaly_fraction", "subtle")
    @classmethod
    def _option_of_made_data(cls, value: Any, info: Any) -> Any:
        name = info.data.get("name")
        made = (_LESSON,) if info.field_name == "subtle" else (*TOY_DENSITIES, _LESSON)
        if value is not None and name not in made:
            given = name or info.data.get("path") or "this data set"
            raise ValueError(f"expected no value, as it is an option of {', '.join(made)}, not of {given}")
        return value

    @model_validator(mode="after")
    def _what_streams(self) -> "DataSpec":
        if self.stream and self.name is not None:
            raise ValueError(f"stream: expected no value, as {self.name} is small")
        if self.stream and self.label is not None:
            raise ValueError(f"label = {self.label}: expected no value, as all rows of a stream count as normal")
        if self.buffer_rows is not None and not self.stream:
            raise ValueError(f"buffer_rows = {self.buffer_rows}: expected no value, as it is an option of stream")
        return self

    @model_validator(mode="after")
    def _one_source(self) -> "DataSpec":
        if (self.name is None) == (self.path is None):
            raise ValueError("expected either name or path, one of them and not both")
        return self

    @property
    def csv(self) -> CsvOptions:
        """Return what is said of how a CSV file is written."""
        return CsvOptions(separator=self.separator, decimal=self.decimal, encoding=self.encoding)


def load_dataset(spec: DataSpec | str, *, seed: int = 0, columns: ColumnsSpec | None = None) -> Dataset:
    """The data set that a spec describes, or the one of this name with its default options.

    Args:
        spec: which data.
        seed: for made data sets; the same seed gives the same points. Real data is the same under every seed.
        columns: what is known of the columns of a file: which are categorical, whether values may be missing.

    Raises:
        InputError: for an unknown name (with the closest known ones), and whatever is wrong with a file.
    """
    if isinstance(spec, str):
        if spec not in dataset_names():
            raise InputError(_unknown(spec))
        spec = DataSpec(name=spec)
    if spec.name is None:
        assert spec.path is not None
        if spec.stream:
            raise InputError(f"{spec.path}: a stream is not read into memory, expected data without stream here")
        columns = ColumnsSpec() if columns is None else columns
        return read_table(
            spec.path,
            label=spec.label,
            features=spec.features,
            categorical=[name for name, column in columns.types.items() if column.kind == "categorical"],
            missing=columns.missing != "refuse",
            csv=spec.csv,
        )
    dataset = _named(spec, spec.name, seed)
    return dataset if spec.features is None else dataset.select(spec.features)


def _named(spec: DataSpec, name: str, seed: int) -> Dataset:
    if name in _REAL:
        return _REAL[name]()
    if name.startswith(_ADBENCH):
        return load_adbench(name.removeprefix(_ADBENCH))
    options = {key: getattr(spec, key) for key in ("size", "anomaly_fraction", "subtle")}
    given = {key: value for key, value in options.items() if value is not None}
    return gaussian_lesson(seed, **given) if name == _LESSON else toy_dataset(name, seed, **given)


def _unknown(name: str) -> str:
    names = dataset_names()
    close = difflib.get_close_matches(name, names, n=3)
    others = tuple(known for known in names if not known.startswith(_ADBENCH))
    hint = f"did you mean {' or '.join(close)}?" if close else f"expected one of {', '.join(others)} or adbench/<name>"
    return f"unknown data set {name}; {hint}"
