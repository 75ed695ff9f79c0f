// Draws the picture with the heatmap over it, from raw values.

import { drawScale, tableOf } from "./colormaps.js";
import { el } from "./dom.js";
import { raw } from "./format.js";
import { blend, rangeOf, strengths, WHOLE } from "./heat.js";
import { provenanceIn, STANDARD_ERROR } from "./layers.js";

export class Stage {
  constructor() {
    this.canvas = el("canvas", { class: "stage-canvas", role: "img", width: "1", height: "1" });
    this.scale = el("canvas", { class: "scale", "aria-hidden": "true" });
    this.least = el("span");
    this.top = el("span");
    this.readout = el("output", { class: "readout" });
    this.nothing = el("p", { class: "stage-note", hidden: true }, "This map has no signal: nothing is drawn.");
    this.legend = el("div", { class: "legend" }, this.least, this.scale, this.top);
    this.element = el(
      "figure",
      { class: "stage" },
      el("div", { class: "stage-light" }, this.canvas, this.nothing),
      el("figcaption", { class: "stage-caption" }, this.legend, this.readout),
    );
    this.canvas.addEventListener("pointermove", (event) => this.#read(event));
    this.canvas.addEventListener("pointerleave", () => this.#readNothing());
    this.drawing = 0;
  }

  /** Load a picture; rejects if it cannot be loaded. */
  async setPicture(url) {
    const picture = new Image();
    picture.src = url;
    await picture.decode();
    this.canvas.width = picture.naturalWidth;
    this.canvas.height = picture.naturalHeight;
    this.canvas.style.setProperty("--ratio", picture.naturalWidth / picture.naturalHeight);
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    this.context.drawImage(picture, 0, 0);
    this.picture = this.context.getImageData(0, 0, this.canvas.width, this.canvas.height);
    this.shown = this.context.createImageData(this.canvas.width, this.canvas.height);
  }

  /** Choose the layer of a maps file; `words` describe it for screen readers. */
  setLayer(arrays, name, words) {
    const { data, shape } = arrays.get(name);
    this.arrays = arrays;
    this.layer = { name, data, shape };
    this.range = rangeOf(data);
    this.place = provenanceIn(arrays).input?.place ?? WHOLE;
    this.strength = strengths(data, shape, this.range, [this.canvas.height, this.canvas.width], this.place);
    this.nothing.hidden = this.range.hasSignal;
    this.least.textContent = raw(this.range.least);
    this.top.textContent = `${this.range.top < this.range.greatest ? "≥ " : ""}${raw(this.range.top)}`;
    this.words = words;
    this.#readNothing();
  }

  /** Draw with the given look ({colours, opacity, threshold, shown}), at most once per screen frame. */
  draw(look) {
    this.look = look;
    if (this.drawing || !this.strength) return;
    this.drawing = requestAnimationFrame(() => {
      this.drawing = 0;
      this.#paint();
    });
  }

  /** The picture as shown, as a PNG. */
  snapshot() {
    return new Promise((resolve) => this.canvas.toBlob(resolve, "image/png"));
  }

  #paint() {
    const { colours, opacity, threshold, shown } = this.look;
    drawScale(this.scale, colours);
    this.legend.classList.toggle("legend-off", !shown);
    const settings = { opacity: shown ? opacity : 0, threshold };
    blend(this.picture.data, this.strength, tableOf(colours), settings, this.shown.data);
    this.context.putImageData(this.shown, 0, 0);
    const how = `${colours}, opacity ${Math.round(opacity * 100)} %, from ${Math.round(threshold * 100)} % on`;
    this.canvas.setAttribute("aria-label", shown ? `${this.words}; ${how}` : "The picture without its heatmap");
  }

  /** The raw value under the pointer, with its standard error if known. */
  #read(event) {
    if (!this.layer) return;
    const box = this.canvas.getBoundingClientRect();
    const [h, w] = this.layer.shape;
    const { top, left, bottom, right } = this.place;
    const at = (position, size, start, end) => (position / size - start) / (end - start);
    const down = at(event.clientY - box.top, box.height, top, bottom);
    const across = at(event.clientX - box.left, box.width, left, right);
    if (this.place !== WHOLE && [down, across].some((share) => share < 0 || share >= 1)) {
      this.readout.value = "The model did not see this part of the picture.";
      return;
    }
    const within = (share, count) => Math.min(Math.max(Math.floor(share * count), 0), count - 1);
    const row = within(down, h);
    const column = within(across, w);
    const value = this.layer.data[row * w + column];
    const errors = this.errorsOfLayer;
    const error = errors ? ` ± ${raw(errors[row * w + column])}` : "";
    this.readout.value = `row ${row}, column ${column}: ${raw(value)}${error}`;
  }

  get errorsOfLayer() {
    return this.layer.name === this.estimated ? this.arrays.get(STANDARD_ERROR)?.data : null;
  }

  #readNothing() {
    this.readout.value = `${this.layer.shape[1]} × ${this.layer.shape[0]} values; point at the picture to read them`;
  }
}
