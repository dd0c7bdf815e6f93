"""Redis in practice: every common use of Redis as one live Flask app.

Importing a pattern, `demo.<use_case>.<pattern>`, imports no Flask: `demo.app` is where the app is
put together.
"""
