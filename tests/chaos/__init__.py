"""What is lost, counted twice, stale or revived when Redis fails, by trial: `python -m tests.chaos`."""
