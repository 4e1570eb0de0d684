"""Specs (validated hyperparameters) and the command line made from them."""

from jaxflow.config.spec import Spec, parse_spec

__all__ = ["Spec", "parse_spec"]
