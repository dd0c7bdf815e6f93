"""What the server says of itself, and the probes for operators."""
