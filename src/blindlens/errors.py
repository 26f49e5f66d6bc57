"""The one exception for what a user can mend."""


class BlindlensError(ValueError):
    """One sentence that says what is wrong with the input and what to do; the command line exits with 2."""
