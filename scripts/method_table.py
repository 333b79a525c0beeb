"""Write down the table that `semipose methods` prints, so that printing it loads nothing heavy: semipose/methods.json.

python scripts/method_table.py      (`make export` does it, too)
"""
from __future__ import annotations
import json

from semipose.cli import method_table
from semipose.names import table_file, table_key


def text() -> str:
    "The file as it should be"
    return json.dumps(dict(key=table_key(), **method_table()), indent=0, ensure_ascii=False) + "\n"


if __name__ == "__main__": table_file().write_text(text(), encoding="utf-8")
