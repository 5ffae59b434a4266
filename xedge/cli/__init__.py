"""The command line: the one part of xedge that prints."""
