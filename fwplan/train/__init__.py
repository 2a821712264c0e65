"""Training the bundled model and measuring what its steps really take."""

import os

# The profiler that measures memory on CPU prints its own start and stop to stderr, over the progress bar. It reads this
# when torch is loaded, and every module of this package that loads torch is imported after this line.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")
