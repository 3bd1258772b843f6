"""An update of low rank in the factors that Keras' adapters have."""

import string

import numpy as np


def keras_factors(update, equation):
    """`a (*shape[:-1], n)` and `b (n, shape[-1])` with `a @ b = down @ up`, of the smallest `n`.

    `n` is the number of singular values of the update, taken as a matrix of `b`'s columns, above
    float32 rounding. The update is not multiplied out for it: the factor without the last axis is
    `Q @ R`, and `Q` changes no singular value. What is left is as small as the rank, times the axes
    that the other factor has beside the last.

    Args:
        update: `{"down", "up": array}`, and `"scale"` where there is one between them.
        equation: The einsum equation of `down` and `up` for the kernel; `down` ends with the rank.
    """
    terms, kernel = equation.split("->")
    axes, (rows, last) = terms.split(","), (kernel[:-1], kernel[-1])
    rank, (k, n) = axes[0][-1], [c for c in string.ascii_letters if c not in equation][:2]
    arrays = [np.asarray(update[name], "float64") for name in ("down", "up")]
    arrays[0] = arrays[0] * np.asarray(update.get("scale", 1.0), "float64")
    without = next((i for i in (0, 1) if last not in axes[i]), None)
    core_rows = rows  # where both factors have the last axis, of equations such as 'ab,b->ab'
    if without is not None:
        own, other = axes[without], axes[1 - without]
        paired = "".join(c for c in own if c in other and c != rank)
        alone = "".join(c for c in own if c not in other)
        array = np.einsum(f"{own}->{paired}{alone}{rank}", arrays[without])
        stack = array.reshape(*array.shape[: len(paired)], -1, array.shape[-1])
        q, arrays[without] = np.linalg.qr(stack)
        q = q.reshape(*array.shape[:-1], q.shape[-1])
        axes[without] = paired + k + rank
        core_rows = paired + k + "".join(c for c in other if c not in paired + rank + last)
    core = np.einsum(f"{axes[0]},{axes[1]}->{core_rows}{last}", *arrays, optimize=True)
    u, singular, v = np.linalg.svd(core.reshape(-1, core.shape[-1]), full_matrices=False)
    count = int(np.sum(singular > singular[0] * np.finfo("float32").eps))
    root = np.sqrt(singular[:count])
    a = (u[:, :count] * root).reshape(*core.shape[:-1], count)
    if without is not None:
        product = f"{paired}{alone}{k},{core_rows}{n}->{rows}{n}"
        a = np.einsum(product, q, a, optimize=True)
    return a, root[:, None] * v[:count]
