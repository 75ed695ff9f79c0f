// Polling: less often while nothing changes, and not at all while the page is hidden.

export const DONE = Symbol("done");
const SLOWER = 1.5;

/** Call `look` until it returns DONE. After a change (true) the next call comes soon; an error counts as no change. */
export async function poll(look, { first = 1000, longest = 15000, signal }) {
  let wait = first;
  while (!signal.aborted) {
    await pause(wait, signal);
    await visible(signal);
    if (signal.aborted) return;
    const news = await look().catch(() => false);
    if (news === DONE) return;
    wait = news ? first : Math.min(wait * SLOWER, longest);
  }
}

function pause(wait, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, wait);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}

function visible(signal) {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => {
    document.addEventListener("visibilitychange", resolve, { once: true });
    signal.addEventListener("abort", resolve, { once: true });
  });
}
