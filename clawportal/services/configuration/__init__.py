"""What an instance is configured with: layers, secrets, what can be created."""
