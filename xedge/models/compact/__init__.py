"""The embedded default: a compact trained Xception with its labels, test photos and calibration photos."""
