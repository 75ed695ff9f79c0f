// What the user likes to see, kept for other images and later visits: how heatmaps are shown, and which kind of map.

import { COLOUR_MAPS, DEFAULT_COLOUR_MAP } from "./colormaps.js";

const KEY = "heatdrop.look";
const KIND = "heatdrop.kind";
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

/** The kind of map that is asked for and shown first; null if the user has not chosen one. */
export function savedDefaultKind() {
  try {
    const kind = JSON.parse(localStorage.getItem(KIND));
    return kind && typeof kind.method === "string" ? kind : null;
  } catch {
    return null;
  }
}

export function saveDefaultKind(kind) {
  try {
    localStorage.setItem(KIND, JSON.stringify(kind));
  } catch {
    // The browser stores nothing.
  }
}
