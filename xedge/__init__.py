"""xedge: convert, quantize, run and measure convolutional image classifiers on edge devices."""

__version__ = "0.1.0"
