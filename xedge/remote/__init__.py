"""Run bundles on another machine over the system's own ssh: send what it needs, run them there, bring results back."""
