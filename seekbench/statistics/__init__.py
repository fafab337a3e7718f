"""Statistics over scores per query: intervals, paired tests, corrections, effect sizes, groups, slices of queries.

Pure functions on numpy arrays that know nothing of files, tables or measures. None returns NaN: each docstring says
what a constant difference, one query and no query give. What draws random numbers has a fixed seed by default and
depends on the values alone, not on their order.
"""
