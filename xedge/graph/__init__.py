"""The reference graph, from which every converter and every quantization algorithm starts."""
