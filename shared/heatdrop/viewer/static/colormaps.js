// The colour maps to choose from.

import { TABLES } from "./colortables.js";

/** `safe`: readable with every kind of colour vision, and when printed in grey. */
export const COLOUR_MAPS = [
  { name: "viridis", title: "Viridis", safe: true },
  { name: "cividis", title: "Cividis", safe: true },
  { name: "magma", title: "Magma", safe: true },
  { name: "gray", title: "Greys", safe: true },
  { name: "jet", title: "Jet (the tutorial’s)", safe: false },
];

export const DEFAULT_COLOUR_MAP = "viridis";

const decoded = new Map();

/** 256 colours from weak to strong, three bytes each. */
export function tableOf(name) {
  if (!decoded.has(name)) decoded.set(name, Uint8Array.from(atob(TABLES[name]), (letter) => letter.charCodeAt(0)));
  return decoded.get(name);
}

/** Fill a canvas with the colours of a map, weak on the left. */
export function drawScale(canvas, name) {
  const table = tableOf(name);
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(256, 1);
  for (let index = 0; index < 256; index += 1) {
    pixels.data.set([table[index * 3], table[index * 3 + 1], table[index * 3 + 2], 255], index * 4);
  }
  canvas.width = 256;
  canvas.height = 1;
  context.putImageData(pixels, 0, 0);
}
