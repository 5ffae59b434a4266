"""Measuring: latency with its phases and its doubts."""
