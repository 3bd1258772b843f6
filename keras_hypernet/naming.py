"""Names that no two layers of one process share.

PyTorch keeps parameters by their path: two hypernetworks whose variables had equal paths would
train wrongly in one graph, in silence. So the sublayers that hold the variables are numbered per
process. A number is no part of a config: a loaded or cloned layer gets new ones.
"""

import collections
import itertools

_numbers = collections.defaultdict(itertools.count)


def unique_name(stem):
    return f"{stem}_{next(_numbers[stem])}"
