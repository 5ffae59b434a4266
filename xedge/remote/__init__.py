"""Another machine over the system's own ssh: what is sent there, what runs there, what comes back."""
