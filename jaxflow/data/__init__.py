"""Data: real and made data sets, tables of the user, preprocessing and splits. NumPy float64 on the host."""

from jaxflow.data.columns.columns_spec import ColumnSpec, ColumnsSpec
from jaxflow.data.dataset import Dataset
from jaxflow.data.preprocessing.steps import DropConstant, MinMax, Preprocessing, PreprocessingStep, Standardize
from jaxflow.data.sets.asd import AsdMachine, load_asd
from jaxflow.data.sets.registry import DataSpec, dataset_names, load_dataset
from jaxflow.data.splits import Split, SplitSpec, hold_out, split_dataset
from jaxflow.data.tables.frame import Frame
from jaxflow.data.tables.read_table import read_chunks, read_table

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
    "hold_out",
    "load_asd",
    "load_dataset",
    "read_chunks",
    "read_table",
    "split_dataset",
]
