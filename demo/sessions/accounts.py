"""The demo accounts: everybody has the same password, which the page tells.

Passwords are kept as scrypt hashes, and an unknown name costs as much work as a known one.
"""

import hashlib
import hmac

SALT = b"redis-in-practice"
HASHES: dict[str, str] = {
    "mara": "a239e8ced14442d0b0f18ad5eb38301dad3b189787166bbe48e91f3734d57eb5",
    "noor": "5edca1309b55e4b956e62f2ad4f8d9c114edf682dfa3d4ace909ceccb5399202",
    "sven": "7b7fda28471c8f08b316af74ac7ca2f423db12a5933ba0bb32e0d508835c1ecc",
    "yuki": "d39f77207f5f176058de9a84001a7856414b92d976d748de6a19a3c3f7e62611",
}
NOBODY = "0" * 64
DEMO_PASSWORD = "correct horse"


def check_password(name: str, password: str) -> bool:
    """Whether the account exists and the password is right; the same work in either case (scrypt, RFC 7914)."""
    derived = hashlib.scrypt(
        password.encode("utf-8", "surrogatepass"), salt=SALT + name.encode()[:64], n=2**14, r=8, p=1, dklen=32
    )
    return hmac.compare_digest(derived.hex(), HASHES.get(name, NOBODY))
