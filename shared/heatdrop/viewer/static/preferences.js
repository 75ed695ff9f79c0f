// How the user likes heatmaps to be shown, kept for other images and later visits.

import { COLOUR_MAPS, DEFAULT_COLOUR_MAP } from "./colormaps.js";

const KEY = "heatdrop.look";
const DEFAULTS = { colours: DEFAULT_COLOUR_MAP, opacity: 0.8, threshold: 0, shown: true };

export function savedLook() {
  let saved = {};
  try {
    saved = JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    // Nothing is stored, or it cannot be read: use the defaults.
  }
  const look = { ...DEFAULTS };
  if (COLOUR_MAPS.some(({ name }) => name === saved.colours)) look.colours = saved.colours;
  for (const name of ["opacity", "threshold"]) if (saved[name] >= 0 && saved[name] <= 1) look[name] = saved[name];
  return look;
}

/** Store the preferences, except that the heatmap is hidden. */
export function saveLook({ colours, opacity, threshold }) {
  try {
    localStorage.setItem(KEY, JSON.stringify({ colours, opacity, threshold }));
  } catch {
    // The browser stores nothing.
  }
}
