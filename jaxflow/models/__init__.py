"""Models: things that can be fitted and that give each row an anomaly score.

The names are in `__init__.pyi`; each is imported when it is first used.
"""

import lazy_loader

from jaxflow.old_names import with_old_names

_attribute, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
_HOMES = {
    "AnyBaseSpec": "jaxflow.models.flows.base_specs",
    "TermsMethod": "jaxflow.models.model",
    "require_planned": "jaxflow.models.named_arrays",
    "restore_state": "jaxflow.models.named_arrays",
    "state_arrays": "jaxflow.models.named_arrays",
    "weighted_mean": "jaxflow.models.model",
}
__getattr__ = with_old_names(__name__, {}, _attribute, homes=_HOMES)
