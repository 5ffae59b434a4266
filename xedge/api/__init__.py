"""What ``import xedge`` offers, one file a subject; ``xedge/__init__.py`` lists the names."""
