from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "numpy",
    "pydantic",
    "yaml",
    "timm",
    "peft",
    "huggingface_hub",
    "safetensors",
    "PIL",
    "importlib.metadata",
)

LIST = "import xzoo; xzoo.list_models()"
DESCRIBE = "import xzoo; str(xzoo.card('edgeface_xxs')); xzoo.list_models('*.*', licence='permissive')"
MISS = """
import xzoo
for name in ("edgface_xxs", "no/such", "edgeface_xxs.none"):
    try: xzoo.card(name)
    except xzoo.XzooError as error: str(error)
"""


def _run(code: str) -> dict[str, object]:
    report = f"""
import json, sys, time
start = time.process_time()
{code}
spent = time.process_time() - start
print(json.dumps({{"spent": spent, "loaded": [name for name in {HEAVY!r} if name in sys.modules]}}))
"""
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("code", [LIST, DESCRIBE, MISS], ids=["list", "describe", "miss"])
def test_looking_at_the_catalogue_imports_no_framework(code: str) -> None:
    assert _run(code)["loaded"] == []


def test_the_first_list_takes_under_a_tenth_of_a_second_of_cpu() -> None:
    assert min(float(str(_run(LIST)["spent"])) for _ in range(5)) < 0.1
