"""The parts of the ADBench study."""
