"""The logger of the package, which never raises.

A handler of the app may raise, though ``logging`` has ``Handler.handleError`` for that.
What was in the middle of a restart, or of a kill, goes on all the same.
"""

from __future__ import annotations

import logging
import sys
import traceback
from typing import Any, Final

__all__ = ["logger"]


class _SafeLogger(logging.LoggerAdapter[logging.Logger]):
    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        try:
            # The place is that of who called this, not this one.
            self.logger.log(level, msg, *args, stacklevel=2, **kwargs)
        except Exception:
            if sys.stderr is not None and logging.raiseExceptions:
                traceback.print_exc()


logger: Final = _SafeLogger(logging.getLogger("aioprocq"))
