"""What every page and answer shares: errors, security, validation, static files, answers before
Flask."""
