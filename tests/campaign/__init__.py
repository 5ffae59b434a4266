"""A campaign of hostile and unlucky cases against every command and every reader, with one rule for what passes."""
