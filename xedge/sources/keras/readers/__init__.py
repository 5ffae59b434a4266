"""The layers and operations of Keras that are read, one small function each, by what they compute."""
