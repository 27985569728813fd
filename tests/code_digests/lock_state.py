"""What of the package's code is not locked."""

from modelcollapse.code_digests.house import FOLDER, LOCK_NAME
from modelcollapse.code_digests.lock import Lock
from modelcollapse.commands.code_lock import current_code


def problems():
    return Lock.read(FOLDER / LOCK_NAME).problems(current_code())
