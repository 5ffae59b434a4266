"""Measure bundles on this machine, and judge and compare what was measured."""
