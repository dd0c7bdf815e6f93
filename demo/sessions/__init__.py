"""Sessions in Redis behind flask.session."""
