#!/bin/bash
# msgspec 0.22.0, convert(text, int, strict=False): takes every text that is a JSON number with a whole value, not only digits. "1.000" is 1,
# which is a thousand in a file from half of the world; "1.23457E+11", what a spreadsheet shows of 123456789012, is 123457000000. "+5" and
# " 5", which int() takes, are refused. Python's int() refuses the first two. Where texts come from people or spreadsheets, look at them first.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check msgspec==0.22.0
cd "$folder"
cat >try.py <<'PY'
import msgspec

def seen(read, text):
    try:
        return read(text)
    except ValueError:
        return "refused"

expected = {"1200": (1200, 1200), "1.000": (1, "refused"), "1200.0": (1200, "refused"), "1.5": ("refused", "refused"),
            "1.23457E+11": (123457000000, "refused"), "+5": ("refused", 5), " 5": ("refused", 5)}
for text, wanted in expected.items():
    got = seen(lambda each: msgspec.convert(each, int, strict=False), text), seen(int, text)
    print(repr(text), "msgspec", got[0], "int()", got[1])
    assert got == wanted, got
PY
"$folder/venv/bin/python" try.py
