"""The parts of the calibration study."""
