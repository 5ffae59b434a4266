"""The files of Keras 2, which hold the configuration of layers as JSON and their weights under Keras 2's names."""
