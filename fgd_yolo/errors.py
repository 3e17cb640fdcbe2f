"""The two errors that a user is meant to read."""


class FGDError(Exception):
    """Something a user can mend: one line that says what is wrong and what to do. Exit code 1."""

    exit_code = 1


class UsageError(FGDError):
    """The command or call itself was wrong: an unknown name, key or a thing said twice. Exit code 2."""

    exit_code = 2
