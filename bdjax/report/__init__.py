"""What a run found, computed from its files alone, again at any time, without a model.

:func:`write` reads ``experiment.json``, ``scores.csv`` and ``artefacts/`` of a run
directory, and writes ``results.json`` for programs, ``report.md`` and ``report.html``
for people, and ``figures/``.
"""

from bdjax.report.page import Report, show, write
from bdjax.report.run import Run, read

__all__ = ["Report", "Run", "read", "show", "write"]
