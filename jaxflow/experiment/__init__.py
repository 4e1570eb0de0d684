"""An experiment: a config as a spec, carrying it out, and the files it leaves."""

from jaxflow.experiment.run import Run, run_experiment, score_run
from jaxflow.experiment.run_files import write_run
from jaxflow.experiment.spec import Experiment

__all__ = ["Experiment", "Run", "run_experiment", "score_run", "write_run"]
