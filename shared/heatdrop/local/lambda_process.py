"""What runs in a function's process: AWS's runtime interface client, limited to the memory of the deployed function.

Run as ``python -m heatdrop.local.lambda_process app.handler`` in the function's folder.
"""

import os
import resource
import sys
from pathlib import Path

from awslambdaric.__main__ import main


def limit_memory() -> None:
    """Let allocations beyond the function's memory fail, since Lambda would end the process there."""
    limit = int(os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]) * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


if __name__ == "__main__":
    limit_memory()
    sys.path.insert(0, str(Path.cwd()))
    main(sys.argv)
