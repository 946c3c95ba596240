"""The loops of `kernels.py`, compiled by numba when this module is first imported: the formulas, number by number.

Numbers go through in chunks of `CHUNK`, which stay in the nearest cache while each stage of a formula (random numbers,
gaps, rounding) is one straight loop over them, short enough to be vectorised. Every stage does what torch does in
`rounding.py`, `variance.py` and `formats/`, operation by operation, so that the bits agree.

Random numbers are Philox4x32 with 7 rounds (Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as easy as
1, 2, 3"): a keyed bijection of a counter, so that any number of a sequence is there without the ones before. By
the paper it passes BigCrush from 7 rounds on; the 10 that GPUs take are a margin.
"""

import numpy as np
from numba import njit
from numba.core.types import float32, int64, uint64, void

CHUNK = 1024
MODES = ("stochastic", "nearest", "corrected", None)  # how a number is rounded, told by its place here
_STOCHASTIC, _NEAREST, _CORRECTED, _NOT = range(4)
_QUARTER = CHUNK // 4

_u32, _i32, _f32 = np.uint32, np.int32, np.float32
_M0, _M1, _HALF_WORD = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57), np.uint64(32)
_W0, _W1 = _u32(0x9E3779B9), _u32(0xBB67AE85)
_EIGHT, _ONE_BIT, _TWO_BITS, _TOP_BITS = _u32(8), _u32(1), _u32(2), _u32(30)
_ZERO, _HALF, _QUARTERS, _ONE, _TWO = _f32(0), _f32(0.5), _f32(0.25), _f32(1), _f32(2)
_NAN, _INF, _UNIT = _f32(np.nan), _f32(np.inf), _f32(2.0**-24)
_ALMOST_TWO = _f32(2 - 2.0**-23)
_SIGNLESS, _EXPONENT, _MANTISSA = _i32(0x7FFFFFFF), _i32(0x7F800000), _i32(0x007FFFFF)

_floats, _ints = float32[::1], int64[::1]


def _compiled(*signature):
    """`njit` with a cache on disk where there is a folder for it."""

    def compiled(function):
        try:
            return njit(*signature, error_model="numpy", nogil=True, cache=True)(function)
        except RuntimeError:  # no folder that can be written into
            return njit(*signature, error_model="numpy", nogil=True)(function)

    return compiled


@njit(error_model="numpy", forceinline=True)
def _bits(x):
    return np.float32(x).view(np.int32)


@njit(error_model="numpy", forceinline=True)
def _float(bits):
    return np.int32(bits).view(np.float32)


@njit(error_model="numpy")
def _copy(x, i, out, j, n):
    source, target = x[i : i + n], out[j : j + n]
    for k in range(n):  # an assignment of slices takes seconds to compile; i + k might be negative, and is then slow
        target[k] = source[k]


@njit(error_model="numpy")
def _fill(out, value):
    for k in range(CHUNK):
        out[k] = value


# ---- random numbers ----------------------------------------------------------------------------------------------


@njit(error_model="numpy", forceinline=True)
def _philox(c0, c1, c2, k0, k1):
    c3 = _u32(0)
    for _ in range(7):
        a, b = _M0 * np.uint64(c0), _M1 * np.uint64(c2)
        c0, c1, c2, c3 = _u32(_u32(b >> _HALF_WORD) ^ c1 ^ k0), _u32(b), _u32(_u32(a >> _HALF_WORD) ^ c3 ^ k1), _u32(a)
        k0, k1 = _u32(k0 + _W0), _u32(k1 + _W1)
    return c0, c1, c2, c3


@njit(error_model="numpy", forceinline=True)
def _unit(word):
    return _f32(_i32(word >> _EIGHT)) * _UNIT


@njit(error_model="numpy", forceinline=True)
def _counter(key, chunk):
    """The counter's two words at the start of a chunk, and the two of the key."""
    first = np.uint64(chunk) * np.uint64(_QUARTER)
    return _u32(first), _u32(first >> _HALF_WORD), _u32(key), _u32(key >> _HALF_WORD)


@njit(error_model="numpy")
def _uniforms(u, key, stream, chunk):
    """Uniform numbers on [0, 1) of 24 bits: those of chunk number `chunk` of this stream of this key."""
    (low, high, k0, k1), c2 = _counter(key, chunk), _u32(stream)
    for j in range(_QUARTER):
        a, b, c, d = _philox(_u32(low + _u32(j)), high, c2, k0, k1)
        u[j], u[_QUARTER + j], u[2 * _QUARTER + j], u[3 * _QUARTER + j] = _unit(a), _unit(b), _unit(c), _unit(d)


@njit(error_model="numpy", forceinline=True)
def _box_muller(a, b):
    """Two normal numbers from two words: √(-2 ln u) times cosine and sine of a random angle (Box and Muller 1958).

    Logarithm, sine and cosine by the polynomials of Cephes (Moshier 1989), which are exact to a float32's last bits.
    u has 31 bits, in [2^-32, 1], so that numbers reach up to 6.66.
    """
    u = _f32(_i32(a >> _ONE_BIT)) * _f32(2.0**-31) + _f32(2.0**-32)
    bits = _bits(u)
    e = _f32(_i32(bits >> _i32(23)) - _i32(126))
    m = _float((bits & _MANTISSA) | _i32(0x3F000000))  # u = m·2^e, m from 1/2 to 1
    small = m < _f32(0.70710677)
    e = e - _ONE if small else e
    x = (m + m if small else m) - _ONE
    z = x * x
    y = _f32(7.0376836292e-2) * x + _f32(-1.1514610310e-1)
    y = y * x + _f32(1.1676998740e-1)
    y = y * x + _f32(-1.2420140846e-1)
    y = y * x + _f32(1.4249322787e-1)
    y = y * x + _f32(-1.6668057665e-1)
    y = y * x + _f32(2.0000714765e-1)
    y = y * x + _f32(-2.4999993993e-1)
    y = y * x + _f32(3.3333331174e-1)
    y = y * x * z + _f32(-2.12194440e-4) * e - _HALF * z
    logarithm = x + y + _f32(0.693359375) * e
    size = np.sqrt(max(_ZERO, _f32(-2) * logarithm))

    quadrant = b >> _TOP_BITS
    x = _f32(_i32(_u32(b << _TWO_BITS))) * _f32(np.pi / 2 * 2.0**-32)  # from -π/4 to π/4
    z = x * x
    sine = ((_f32(-1.9515295891e-4) * z + _f32(8.3321608736e-3)) * z + _f32(-1.6666654611e-1)) * z * x + x
    cosine = (_f32(2.443315711809948e-5) * z + _f32(-1.388731625493765e-3)) * z + _f32(4.166664568298827e-2)
    cosine = cosine * z * z - _HALF * z + _ONE
    swapped = (quadrant & _ONE_BIT) == _ONE_BIT
    first, second = (sine, cosine) if swapped else (cosine, sine)
    first = -first if quadrant == _ONE_BIT or quadrant == _TWO_BITS else first
    second = -second if quadrant >= _TWO_BITS else second
    return size * first, size * second


@njit(error_model="numpy")
def _normals(xi, key, stream, chunk):
    """Standard normal numbers, like `_uniforms`."""
    (low, high, k0, k1), c2 = _counter(key, chunk), _u32(stream)
    for j in range(_QUARTER):
        a, b, c, d = _philox(_u32(low + _u32(j)), high, c2, k0, k1)
        xi[j], xi[_QUARTER + j] = _box_muller(a, b)
        xi[2 * _QUARTER + j], xi[3 * _QUARTER + j] = _box_muller(c, d)


@_compiled(void(_floats, int64, int64, uint64, int64, int64))
def draw(out, start, stop, key, stream, normal):
    """Random numbers into out[start:stop]; start is a multiple of CHUNK."""
    buffer = np.empty(CHUNK, np.float32)
    for first in range(start, stop, CHUNK):
        if normal:
            _normals(buffer, key, stream, first // CHUNK)
        else:
            _uniforms(buffer, key, stream, first // CHUNK)
        n = min(CHUNK, stop - first)
        _copy(buffer, 0, out, first, n)


# ---- what blocks share -------------------------------------------------------------------------------------------
# shape = (length, inner, block, per_outer, per_block, per_inner): the tensor in memory is [outer, length, inner], and
# number (o, l, r) belongs to block o·per_outer + (l // block)·per_block + r·per_inner.


@njit(error_model="numpy")
def _run(i, shape):
    """How many numbers from number i on are in one block (step 0), or in a block each, one after the other (step 1),
    the first of these blocks, and the step."""
    length, inner, block, per_outer, per_block, per_inner = shape
    row, r = i // inner, i % inner
    o, l = row // length, row % length  # noqa: E741
    index = o * per_outer + (l // block) * per_block + r * per_inner
    if inner > 1:
        return inner - r, index, per_inner
    if block > 1:
        return min(block - l % block, length - l), index, 0
    return length - l, index, per_block


@njit(error_model="numpy")
def _largest(x, offset, start, stop, shape, out):
    """`largest`, where number i is x[i - offset]."""
    bits, found = x.view(np.int32), out.view(np.int32)
    i = start
    while i < stop:
        n, index, step = _run(i, shape)
        n = min(n, stop - i)
        part = bits[i - offset : i - offset + n]
        if step:
            each = found[index : index + n]
            for j in range(n):
                each[j] = max(each[j], part[j] & _SIGNLESS)
        else:
            most = found[index]
            for j in range(n):
                most = max(most, part[j] & _SIGNLESS)
            found[index] = most
        i += n


@_compiled(void(_floats, int64, int64, _ints, _floats))
def largest(x, start, stop, shape, out):
    """The largest |x| of each block, as far as it is in x[start:stop], into `out`. NaN is larger than all."""
    _largest(x, 0, start, stop, shape, out)


@njit(error_model="numpy", forceinline=True)
def _exponent(x):
    """floor(log2 x) of a positive finite float32, and whether it is that power of two."""
    subnormal = x < _f32(2.0**-126)
    bits = _bits(x * _f32(2.0**24) if subnormal else x)
    return _i32(bits >> _i32(23)) - _i32(127) - (_i32(24) if subnormal else _i32(0)), (bits & _MANTISSA) == 0


@njit(error_model="numpy", forceinline=True)
def _power(e):
    return _float((e + 127) << 23 if e >= -126 else 1 << (e + 149))


@_compiled(void(_floats, _floats, float32))
def powers(scale, p, reach):
    """The scale of each block, in place of its largest |x|. reach < 0: no head-room."""
    drop, room, when_infinite, when_zero, lowest, highest = p[10], p[11], p[12], p[13], p[14], p[15]
    for i in range(scale.size):
        x = scale[i]
        if np.isnan(x):
            continue
        if np.isinf(x):
            e = _i32(when_infinite)
        elif reach < _ZERO:
            e = _i32(when_zero) if x == _ZERO else _exponent(x)[0] - _i32(drop)
        else:
            y = (x + reach) / room
            if y == _ZERO or np.isinf(y):
                e = _i32(0)
            else:
                e, exact = _exponent(y)
                e = e if exact else e + _i32(1)
        scale[i] = _power(max(_i32(lowest), min(_i32(highest), e)))


@njit(error_model="numpy")
def _spread(scale, start, n, shape, out):
    """The scale of each of n numbers from number `start` on."""
    j = 0
    while j < n:
        count, index, step = _run(start + j, shape)
        count = min(count, n - j)
        if step:
            _copy(scale, index, out, j, count)
        else:
            part, one = out[j : j + count], scale[index]
            for k in range(count):
                part[k] = one
        j += count


# ---- gaps and rounding ----------------------------------------------------------------------------------------------


@njit(error_model="numpy")
def _gaps(x, s, p, reach, gap, low, high):
    """The grid of each number: s times that of the elements' format."""
    if p[3] == _ZERO:
        one = p[0]
        for j in range(CHUNK):
            gap[j] = one * s[j]
        return
    smallest, top, fraction, most, codes = p[4], p[5], p[6], p[7], p[8]
    limited, whole = reach >= _ZERO, _ONE / fraction
    for j in range(CHUNK):
        y = x[j] / s[j]
        if limited:
            y = (abs(y) + _ONE / s[j] * reach) / (codes - _TWO) * _ALMOST_TWO
        power = _float(_bits(y) & _EXPONENT)
        power = power * whole if limited else power
        power = smallest if power < smallest else power
        power = top if power > top else power
        own = power * fraction
        h = most / own
        h = codes if limited and h > codes else h
        gap[j], high[j], low[j] = own * s[j], h, -h


@njit(error_model="numpy")
def _stochastic(x, gap, low, high, u):
    for j in range(CHUNK):
        t, most, least = x[j] / gap[j], high[j], low[j]
        t = most if t > most else t
        t = least if t < least else t
        below = np.floor(t)
        x[j] = (below + np.ceil((t - below) - u[j])) * gap[j]


@njit(error_model="numpy")
def _nearest(x, gap, low, high, p):
    ties, smallest, shifted = p[9], p[4], p[16]
    if ties == _ZERO:  # even
        for j in range(CHUNK):
            x[j] = np.rint(x[j] / gap[j])
    elif ties == _ONE:  # even, after qtorch's sum
        for j in range(CHUNK):
            x[j] = np.rint((x[j] / gap[j] + _HALF) - _HALF)
    elif ties == _TWO:  # up, after qtorch's sum
        for j in range(CHUNK):
            shift = shifted * gap[j]
            shift = _ZERO if shift == _INF else shift
            x[j] = np.floor(((x[j] + shift) - shift) / gap[j] + _HALF)
    else:  # away from zero
        for j in range(CHUNK):
            number = x[j]
            size = abs(number)
            size = (size + smallest) - smallest if size < smallest else size
            t = size / gap[j]
            below = np.floor(t)
            code = below + (_ONE if t - below >= _HALF else _ZERO)
            x[j] = _ZERO if code == _ZERO else (-code if number < _ZERO else code)
    for j in range(CHUNK):
        t, most, least = x[j], high[j], low[j]
        t = most if t > most else t
        t = least if t < least else t
        x[j] = t * gap[j]


@njit(error_model="numpy")
def _corrected(x, gap, low, high, w, u1, u2, spread, splines):
    """Q^vc; spread: √(w - 1/4) ξ. `splines` says how many are of that branch: 0 none, 1 some, 2 all."""
    if splines == 2:
        for j in range(CHUNK):
            t = x[j] / gap[j]
            below = np.floor(t)
            x[j] = below + np.floor((t - below) + spread[j] + (u1[j] + u2[j] - _HALF))
    else:
        for j in range(CHUNK):
            t = x[j] / gap[j]
            below = np.floor(t)
            f = t - below
            h = (w[j] - f * (_ONE - f)) / _TWO
            h = _ZERO if h < _ZERO else h
            upper = np.ceil((_ONE - (_ONE - f) * h) - u1[j]) + np.ceil((f + h * (_ONE - _TWO * f)) - u1[j])
            code = below - _ONE + (upper + np.ceil(f * h - u1[j]))
            if splines == 1:
                drawn = below + np.floor(f + spread[j] + (u1[j] + u2[j] - _HALF))
                code = drawn if w[j] > _QUARTERS else code
            x[j] = code
    for j in range(CHUNK):
        t, most, least = x[j], high[j], low[j]
        t = most if t > most else t
        t = least if t < least else t
        x[j] = t * gap[j]


@njit(error_model="numpy")
def _workspace(p, scale, mode, noise):
    """What the rounding of a chunk needs; where all numbers have one grid, it is there at once."""
    work = np.empty((8, CHUNK), np.float32)
    for row in range(8):
        _fill(work[row], scale[0])
    _fill(work[1], p[1])
    _fill(work[2], p[2])
    if scale.size == 1 and p[3] == _ZERO:
        _gaps(work[0], work[3], p, -_ONE, work[0], work[1], work[2])
    return work


@njit(error_model="numpy")
def _round_chunk(a, work, first, n, p, scale, shape, mode, key, noise):
    gap, low, high, s, u1, u2, xi, w = work[0], work[1], work[2], work[3], work[4], work[5], work[6], work[7]
    if scale.size > 1:
        _spread(scale, first, n, shape, s)
    if scale.size > 1 or p[3] != _ZERO:
        _gaps(a, s, p, noise[1] if mode == _CORRECTED else -_ONE, gap, low, high)
    if mode == _NEAREST:
        _nearest(a, gap, low, high, p)
        return
    _uniforms(u1, key, 0, first // CHUNK)
    if mode == _STOCHASTIC:
        _stochastic(a, gap, low, high, u1)
        return
    spread, wide = xi, 0
    if np.isnan(noise[2]):
        variance = noise[0]
        for j in range(CHUNK):
            w[j] = variance / gap[j] / gap[j]
            wide += _i32(w[j] > _QUARTERS)
    else:
        _fill(w, noise[2])
        wide = CHUNK if noise[2] > _QUARTERS else 0
    splines = 0 if wide == 0 else 2 if wide == CHUNK else 1
    if splines:
        _uniforms(u2, key, 1, first // CHUNK)
        _normals(xi, key, 2, first // CHUNK)
        one = noise[3]
        if np.isnan(one):
            for j in range(CHUNK):
                more = w[j] - _QUARTERS
                xi[j] *= np.sqrt(_ZERO if more < _ZERO else more)
        else:
            for j in range(CHUNK):
                xi[j] *= one
    _corrected(a, gap, low, high, w, u1, u2, spread, splines)


@_compiled(void(_floats, _floats, int64, int64, _floats, _floats, _ints, int64, uint64, _floats))
def rounded(x, out, start, stop, p, scale, shape, mode, key, noise):
    """x[start:stop] rounded into out, which may be x; start is a multiple of CHUNK.

    p: `kernels.Arithmetic`. scale, shape: of blocks; one of scale 1 if there are none. noise: variance, reach, and w
    and √(w - 1/4) if these are the same everywhere (else NaN).
    """
    a, work = np.empty(CHUNK, np.float32), _workspace(p, scale, mode, noise)
    _fill(a, _ZERO)
    for first in range(start, stop, CHUNK):
        n = min(CHUNK, stop - first)
        _copy(x, first, a, 0, n)
        _round_chunk(a, work, first, n, p, scale, shape, mode, key, noise)
        _copy(a, 0, out, first, n)


@njit(error_model="numpy")
def _noise(xi, key, first, std):
    """std·ξ into xi; it stays as it is where there is none."""
    if std != _ZERO:
        _normals(xi, key, 2, first // CHUNK)
        for j in range(CHUNK):
            xi[j] *= std


@_compiled(void(_floats, _floats, int64, int64, uint64, float32))
def noised(x, out, start, stop, key, std):
    """x + std·ξ into out, which may be x; start is a multiple of CHUNK."""
    xi, a = np.zeros(CHUNK, np.float32), np.zeros(CHUNK, np.float32)
    for first in range(start, stop, CHUNK):
        n = min(CHUNK, stop - first)
        _copy(x, first, a, 0, n)
        _noise(xi, key, first, std)
        for j in range(CHUNK):
            a[j] += xi[j]
        _copy(a, 0, out, first, n)


_one_rounding = (_floats, _floats, _ints, int64, uint64)  # p, scale, shape, mode, key


@_compiled(void(*[_floats] * 4, int64, int64, int64, _floats, *_one_rounding, uint64, *_one_rounding, _floats, _floats))
def moved(
    theta,
    slope,
    out,
    displacement,
    free,
    start,
    stop,
    numbers,
    grad,
    grad_scale,
    grad_shape,
    grad_mode,
    grad_key,
    noise_key,
    p,
    scale,
    shape,
    mode,
    key,
    noise,
    most,
):
    """θ[start:stop] after one step of `sghmc.step`, in place, and rounded in `out`, which may be θ; of `sgld.step` if
    there is no displacement w.

    free: whether w is kept as it is drawn, or as θ' - θ. numbers: step size, weight decay, standard deviation of the
    noise that is added before rounding, momentum. Where weights share scales, which are not known before all have
    moved, θ is left unrounded (mode None), the largest of each block goes into `most`, and a w that is not free becomes
    the θ that was.
    """
    lr, decay, std, momentum = numbers[0], numbers[1], numbers[2], numbers[3]
    rolls, nothing = displacement.size > 0, np.zeros(4, np.float32)
    buffers = np.zeros((4, CHUNK), np.float32)
    a, g, xi, w = buffers[0], buffers[1], buffers[2], buffers[3]
    grad_work, work = _workspace(grad, grad_scale, grad_mode, nothing), _workspace(p, scale, mode, noise)
    for first in range(start, stop, CHUNK):
        n = min(CHUNK, stop - first)
        _copy(theta, first, a, 0, n)
        _copy(slope, first, g, 0, n)
        if grad_mode != _NOT:
            _round_chunk(g, grad_work, first, n, grad, grad_scale, grad_shape, grad_mode, grad_key, nothing)
        if decay != _ZERO:
            for j in range(CHUNK):
                g[j] += decay * a[j]
        _noise(xi, noise_key, first, std)
        if rolls:
            _copy(displacement, first, w, 0, n)
        if free:
            for j in range(CHUNK):
                g[j] = (momentum * w[j] - lr * g[j]) + xi[j]
                a[j] += g[j]
        else:
            for j in range(CHUNK):
                before = a[j]
                a[j] = (before + (momentum * w[j] - lr * g[j])) + xi[j]
                g[j] = before
        _copy(a, 0, theta, first, n)
        if mode != _NOT:
            _round_chunk(a, work, first, n, p, scale, shape, mode, key, noise)
            _copy(a, 0, out, first, n)
        elif most.size:
            _largest(a, first, first, first + n, shape, most)
        if rolls:
            if not free and not most.size:
                for j in range(CHUNK):
                    g[j] = a[j] - g[j]
            _copy(g, 0, displacement, first, n)
