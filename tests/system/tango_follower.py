"""A Tango client that follows all that the device announces, as a panel does; a program, to be stopped or killed.

It prints the attributes that it follows by change events, and those that it follows by data-ready events, in JSON.
"""

from __future__ import annotations

import json
import sys
import threading

import tango


def main() -> None:
    proxy = tango.DeviceProxy(sys.argv[1])
    followed: dict[str, list[str]] = {"change": [], "ready": []}
    for name in proxy.get_attribute_list():
        for how, kind in (("change", tango.EventType.CHANGE_EVENT), ("ready", tango.EventType.DATA_READY_EVENT)):
            try:
                proxy.subscribe_event(name, kind, lambda event: None)
            except tango.DevFailed:
                continue
            followed[how].append(name)
    print(json.dumps(followed), flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
