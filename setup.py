"""Builds the package as setup.cfg says, with the configs of configs/ in it, where an installation finds them."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    """Copies modules, and the configs beside them."""

    def run(self):
        """Copy all; an editable installation finds the configs where they are."""
        super().run()
        if not self.editable_mode:
            place = Path(self.build_lib, "jaxflow", "configs")
            place.mkdir(parents=True, exist_ok=True)
            for config in Path("configs").glob("*.yaml"):
                shutil.copy(config, place)


setup(cmdclass={"build_py": BuildWithConfigs})
