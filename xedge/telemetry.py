"""Turn off what the runtimes would send about their use.

ONNX Runtime's wheels keep an identifier of the device and send events from version 1.29 on, unless a variable says
otherwise before the library is loaded. OpenVINO has a package for it and does without if it cannot be imported. That
package also sends from a process that it forks out of a thread, which may wait for a lock forever.
"""

from __future__ import annotations

import os
import sys


def turn_off() -> None:
    """Turn telemetry off in this process and in those that it starts; a variable that the user has set is kept."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("ORT_TELEMETRY_DISABLED", "1")  # its name in some versions
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
