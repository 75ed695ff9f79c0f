// How a person likes to see heatmaps, kept from image to image and from visit to visit.

import { COLOUR_MAPS, DEFAULT_COLOUR_MAP } from "./colormaps.js";

const KEY = "heatdrop.look";
const DEFAULTS = { colours: DEFAULT_COLOUR_MAP, opacity: 0.8, threshold: 0, shown: true };

export function savedLook() {
  let saved = {};
  try {
    saved = JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    // Nothing kept, or nothing that makes sense: the defaults do.
  }
  const look = { ...DEFAULTS };
  if (COLOUR_MAPS.some(({ name }) => name === saved.colours)) look.colours = saved.colours;
  for (const name of ["opacity", "threshold"]) if (saved[name] >= 0 && saved[name] <= 1) look[name] = saved[name];
  return look;
}

/** Keep a look; that a heatmap is hidden is only for the moment. */
export function saveLook({ colours, opacity, threshold }) {
  try {
    localStorage.setItem(KEY, JSON.stringify({ colours, opacity, threshold }));
  } catch {
    // As above.
  }
}
