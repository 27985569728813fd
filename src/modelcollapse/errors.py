"""The errors that a user can mend."""


class UserError(Exception):
    """Something that the user can mend: the message says what is wrong and what to do; no traceback is shown."""
