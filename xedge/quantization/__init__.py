"""Post-training quantization: from a reference graph and photos to a plan that every converter can write."""
