#!/bin/bash
# dogpile.cache 1.5.0: an invalidation that comes while a value is being loaded does not reach that value. region.invalidate() notes
# the time, and a value is compared with it by the time at which it was stored, not at which its load began. So a loader that had read
# the old row stores it after the invalidation, and every reader gets it as fresh until it expires. hard=False does the same, and so
# does region.delete(): the value that is stored afterwards stays. A good guess is that all which was read before is refused.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check dogpile.cache==1.5.0
cd "$folder"
cat >try.py <<'PY'
import importlib.metadata
from dogpile.cache import make_region

print("dogpile.cache", importlib.metadata.version("dogpile.cache"))
seen = {}
for way in ("invalidate, hard", "invalidate, soft", "delete"):
    region = make_region().configure("dogpile.cache.memory", expiration_time=600)
    row = {"price": 1}

    def load():
        read = row["price"]
        if read == 1:  # a writer comes in the middle of the load: commits, then tells the cache
            row["price"] = 2
            if way == "delete":
                region.delete("price")
            else:
                region.invalidate(hard=way.endswith("hard"))
        return read

    region.get_or_create("price", load)
    seen[way] = region.get_or_create("price", load)
    print(f"{way:17} the row is {row['price']}, the next reader gets {seen[way]}")
assert seen == {"invalidate, hard": 1, "invalidate, soft": 1, "delete": 1}
PY
"$folder/venv/bin/python" try.py
