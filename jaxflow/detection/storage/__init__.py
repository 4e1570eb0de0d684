"""Detectors as files: saving, loading what strangers may have written, exported programs."""
