"""From an exception to what a person sees: a message and an exit status, no traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable

from calico_mn import streams
from calico_mn.errors import FAILED, WRONG_REQUEST, CalicoMnError, exit_code
from calico_mn.experiment.interruption import INTERRUPTED, ignore_signals
from calico_mn.kernel import processes
from calico_mn.streams import complain


def exit_status(main: Callable[[], int]) -> int:
    """Run ``main``; its status, or 2 for a mistake in what was asked for, or 1 for a failure.

    Only for a process that ends with this status: after an interruption it ignores further ones.
    """
    streams.reopen_std()
    try:
        status = main()
        if status == INTERRUPTED:
            ignore_signals()
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        ignore_signals()
        return INTERRUPTED
    except CalicoMnError as error:
        complain(str(error))
        return min(exit_code(error), WRONG_REQUEST)
    except OSError as error:
        # A full disk, a results directory that was removed, a reader of our output that is gone.
        streams.redirect_to_null(sys.stdout)
        if processes.is_limit(error.errno):
            complain(f"{error.filename or 'the results cannot be written'}: {error.strerror}. What"
                     " was written before is readable; once that is seen to, --resume goes on.")
        else:
            where = f"{error.filename}: " if error.filename else ""
            complain(f"cannot go on: {where}{error.strerror or error}")
        return FAILED
