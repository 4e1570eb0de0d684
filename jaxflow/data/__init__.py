"""Data: real and made data sets, tables of the user, preprocessing and splits. NumPy float64 on the host.

The names are in `__init__.pyi`; each is imported when it is first used.
"""

import lazy_loader

from jaxflow.old_names import with_old_names

_attribute, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__getattr__ = with_old_names(__name__, {}, _attribute, homes={"hold_out": "jaxflow.data.splits"})
