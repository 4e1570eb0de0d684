"""Data: real and made data sets, tables of the user, preprocessing and splits. NumPy float64 on the host."""

from .columns.columns_spec import ColumnSpec, ColumnsSpec
from .dataset import Dataset
from .preprocessing.steps import DropConstant, MinMax, Preprocessing, PreprocessingStep, Standardize
from .sets.asd import AsdMachine, load_asd
from .sets.registry import DataSpec, dataset_names, load_dataset
from .splits import Split, SplitSpec, split_dataset
from .tables.frame import Frame
from .tables.read_table import read_chunks, read_table

__all__ = [
    "AsdMachine",
    "ColumnSpec",
    "ColumnsSpec",
    "DataSpec",
    "Dataset",
    "DropConstant",
    "Frame",
    "MinMax",
    "Preprocessing",
    "PreprocessingStep",
    "Split",
    "SplitSpec",
    "Standardize",
    "dataset_names",
    "load_asd",
    "load_dataset",
    "read_chunks",
    "read_table",
    "split_dataset",
]
