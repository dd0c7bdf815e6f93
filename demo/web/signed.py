"""Values that a browser keeps for us, signed and dated."""

from typing import Any

from flask import current_app
from itsdangerous import SignatureExpired, TimestampSigner, URLSafeTimedSerializer


class _Signer(TimestampSigner):
    """Another host of this app may have signed it, with a clock that is ahead. A date in the future
    counts as now, if it is no further ahead than the allowed age."""

    def unsign(
        self, signed_value: str | bytes, max_age: int | None = None, return_timestamp: bool = False
    ) -> Any:
        value, made = super().unsign(signed_value, return_timestamp=True)
        age = self.get_timestamp() - int(made.timestamp())
        if max_age is not None and abs(age) > max_age:
            raise SignatureExpired(f"{age} s old", payload=value, date_signed=made)
        return (value, made) if return_timestamp else value


def serializer(purpose: str) -> URLSafeTimedSerializer:
    """Signs with the app's key for one purpose alone; `loads` with a `max_age` in seconds raises
    BadData for what is forged, foreign or too old."""
    return URLSafeTimedSerializer(str(current_app.secret_key), salt=purpose, signer=_Signer)
