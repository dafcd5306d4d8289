"""Pure statistics: numpy only, no I/O, no clock, no hidden randomness.

Where to find what:

- ``metrics``        how good predictions are on labelled rows (log loss, AUC, calibration, RMSE, ...)
- ``intervals``      confidence intervals for rates, differences of rates and means
- ``findings``       intervals, coefficients and label errors as data: what the rooms' types are made of (no numpy)
- ``repeats``        the mean over repeated runs, and whether two configurations differ
- ``blocks``         tests that respect dependence inside a day: block means, paired differences
- ``sketches``       states of columns and tables that add up: profiles of parts make the profile of the whole
- ``drift``          additive column states, distances between two of them, and the alarm rule
- ``sequential``     tests that may be looked at any time: rollout decisions, error guards, concept drift
- ``changepoint``    since when a series of window values has moved
- ``estimate``       performance before labels arrive
- ``regions``        overlap of boxes and spans, and which of them mean the same thing (no numpy)
- ``fairness``       rates by group, with intervals and "not estimable" as a value
- ``exactness``      how identical two prediction arrays or two feature tables are
- ``distributions``  the special functions the rest needs
- ``arrays``         how input is checked: one dimension, equal lengths, no NaN

Wrong input raises ``ValueError`` naming the argument. A quantity that the data cannot tell (the AUC of
one class, the true-positive rate without positives) is ``None``, never a made-up number.
"""
