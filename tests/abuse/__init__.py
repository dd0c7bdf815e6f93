"""What an innocent visitor meets while others abuse the app, by trial: `python -m tests.abuse`."""
