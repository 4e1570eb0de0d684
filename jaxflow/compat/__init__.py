"""Detectors in the conventions of other libraries; none of those is imported."""

from jaxflow.compat.pyod import PyODAdapter

__all__ = ["PyODAdapter"]
