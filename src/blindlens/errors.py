"""What ends a command without a traceback."""


class BlindlensError(ValueError):
    """One sentence that says what is wrong with the input and what to do; the command line exits with 2."""


class CannotWrite(BlindlensError):
    """A result could not be kept: nobody's data are wrong, and the same run may succeed elsewhere."""


class Interrupted(Exception):
    """Ctrl-C during a run whose finished part is kept."""
