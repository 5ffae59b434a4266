"""Read what the machine says about itself."""
