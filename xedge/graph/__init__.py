"""The reference graph: what every converter and every quantization algorithm starts from."""
