// Turns raw maps into colours with the same arithmetic as explaining/rendering.py, so that both look the same.

const CLIP_PERCENTILE = 99.5;

/** Minimum and maximum, and the value at which the colours end (the 99.5th percentile, as on the overlay). */
export function rangeOf(values) {
  let least = Infinity;
  let greatest = -Infinity;
  for (const value of values) {
    if (value < least) least = value;
    if (value > greatest) greatest = value;
  }
  const hasSignal = greatest - least > 1e-6 * Math.max(Math.abs(least), Math.abs(greatest));
  const clip = percentile(values, CLIP_PERCENTILE);
  return { least, greatest, hasSignal, top: clip > least ? clip : greatest };
}

/** A quantile of sorted values, interpolated as in NumPy. */
export function percentile(values, share) {
  const sorted = Float64Array.from(values).sort();
  const at = (share / 100) * (sorted.length - 1);
  const below = Math.floor(at);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (at - below);
}

/** A map that covers the whole picture. */
export const WHOLE = { top: 0, left: 0, bottom: 1, right: 1 };

/**
 * A map (h, w) as strengths 0..1, enlarged to (height, width) between pixel centres. It lies at `place` in the picture
 * (shares of its height and width); elsewhere the strength is 0.
 */
export function strengths(values, [h, w], range, [height, width], place = WHOLE) {
  const result = new Float32Array(height * width);
  if (!range.hasSignal) return result;
  const span = range.top - range.least;
  const scaled = Float32Array.from(values, (value) => Math.min(Math.max((value - range.least) / span, 0), 1));
  const columns = steps(w, width, place.left, place.right);
  const rows = steps(h, height, place.top, place.bottom);
  for (let y = rows.start; y < rows.end; y += 1) {
    const upper = rows.first[y] * w;
    const lower = rows.second[y] * w;
    const down = rows.weight[y];
    for (let x = columns.start; x < columns.end; x += 1) {
      const left = columns.first[x];
      const right = columns.second[x];
      const across = columns.weight[x];
      const above = scaled[upper + left] * (1 - across) + scaled[upper + right] * across;
      const below = scaled[lower + left] * (1 - across) + scaled[lower + right] * across;
      result[y * width + x] = above * (1 - down) + below * down;
    }
  }
  return result;
}

function steps(from, to, start, end) {
  const first = new Int32Array(to);
  const second = new Int32Array(to);
  const weight = new Float32Array(to);
  for (let index = 0; index < to; index += 1) {
    const share = ((index + 0.5) / to - start) / (end - start);
    const at = Math.min(Math.max(share * from - 0.5, 0), from - 1);
    first[index] = Math.floor(at);
    second[index] = Math.min(first[index] + 1, from - 1);
    weight[index] = at - first[index];
  }
  const within = (share) => Math.min(Math.max(Math.ceil(share * to - 0.5), 0), to);
  return { first, second, weight, start: within(start), end: within(end) };
}

/** Colour strengths over a picture (RGBA bytes) into `target` (RGBA bytes): the stronger, the more opaque. */
export function blend(picture, strength, table, { opacity, threshold }, target) {
  for (let index = 0, at = 0; index < strength.length; index += 1, at += 4) {
    const value = strength[index];
    const share = value > 0 && value >= threshold ? opacity * value : 0;
    const colour = Math.floor(value * 255) * 3;
    target[at] = picture[at] + (table[colour] - picture[at]) * share;
    target[at + 1] = picture[at + 1] + (table[colour + 1] - picture[at + 1]) * share;
    target[at + 2] = picture[at + 2] + (table[colour + 2] - picture[at + 2]) * share;
    target[at + 3] = 255;
  }
}

/** The relative error of a whole map: L2 norm of its standard error over that of the map. */
export function relativeError(values, errors) {
  const norm = (numbers) => Math.sqrt(numbers.reduce((sum, number) => sum + number * number, 0));
  const of = norm(values);
  return of > 0 ? norm(errors) / of : 0;
}
