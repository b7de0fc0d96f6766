"""An account at AWS as it is called: who calls, whereto, and what its errors mean."""

from binlog.aws.account import ACCOUNT_PARAMETERS, Account, account_of, connector
from binlog.aws.errors import THROTTLES, error_code, trouble, was_refused

__all__ = [
    "ACCOUNT_PARAMETERS",
    "THROTTLES",
    "Account",
    "account_of",
    "connector",
    "error_code",
    "trouble",
    "was_refused",
]
