"""Post-training quantization: from a reference graph and calibration photos to a plan for every converter."""
