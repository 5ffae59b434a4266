"""A page that shows bundles at work on photos or on the frames of a camera.

It is for devices: it needs NumPy, Pillow, one runtime and the standard library.
"""
