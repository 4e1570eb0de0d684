"""Data: real and made data sets, tables of the user, preprocessing and splits. NumPy float64 on the host."""

from jaxflow.data.asd import AsdMachine, load_asd
from jaxflow.data.columns import ColumnSpec, ColumnsSpec
from jaxflow.data.dataset import Dataset
from jaxflow.data.frame import Frame
from jaxflow.data.preprocessing import DropConstant, MinMax, Preprocessing, PreprocessingStep, Standardize
from jaxflow.data.registry import DataSpec, dataset_names, load_dataset
from jaxflow.data.splits import Split, SplitSpec, hold_out, split_dataset
from jaxflow.data.tabular import read_chunks, read_table

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
