// The view of one image: still in progress, ended without heatmaps, or explained.

import { image as fetchImage, models } from "./api.js";
import { el, failure, icon } from "./dom.js";
import { fileName } from "./format.js";
import { DONE, poll } from "./poll.js";
import { STATES, badge, isFinal, steps } from "./states.js";
import { anyOpen } from "./explanations.js";
import { Workbench } from "./workbench.js";

export class Detail {
  constructor({ section, neighbours, onImage }) {
    Object.assign(this, { section, neighbours, onImage });
    this.showing = new AbortController();
    this.workbench = null;
  }

  /** Show the image with this id in whatever state it is, and update it until it is final. */
  async open(id) {
    this.close();
    this.showing = new AbortController();
    const { signal } = this.showing;
    this.section.replaceChildren(this.#head(id, null), loading());
    this.section.querySelector("h1").focus();
    try {
      const image = await fetchImage(id);
      if (signal.aborted) return;
      await this.#show(image, signal);
      if (!isFinal(image.state) || anyOpen(image)) this.follow();
    } catch (problem) {
      if (!signal.aborted) this.section.replaceChildren(this.#head(id, null), failure(problem, () => this.open(id)));
    }
  }

  close() {
    this.showing.abort();
    this.workbench = null;
    document.title = "Heatdrop";
  }

  /** Update the links to the previous and next image, which may only be known now. */
  showNeighbours() {
    const steps = this.section.querySelector(".detail-steps");
    if (steps && this.image) steps.replaceWith(this.#steps(this.image.image_id));
  }

  /** Poll until there is nothing left to wait for. */
  follow() {
    const { signal } = this.showing;
    const look = async () => {
      const image = await fetchImage(this.image.image_id);
      if (signal.aborted) return DONE;
      const before = JSON.stringify([this.image.state, this.image.explanations]);
      const news = JSON.stringify([image.state, image.explanations]) !== before;
      if (news) await this.#show(image, signal);
      return isFinal(image.state) && !anyOpen(image) ? DONE : news;
    };
    poll(look, { signal, longest: 10000 });
  }

  async #show(image, signal) {
    const fresh = this.image?.image_id !== image.image_id || this.image.state !== image.state;
    this.image = image;
    this.onImage(image);
    if (!fresh && this.workbench) {
      this.workbench.update(image);
      return;
    }
    document.title = `${fileName(image.drop.key)} · Heatdrop`;
    this.section.replaceChildren(this.#head(image.image_id, image), loading());
    if (image.state !== "EXPLAINED") {
      this.section.replaceChildren(this.#head(image.image_id, image), unexplained(image));
      return;
    }
    const known = await models().catch(() => []);
    const workbench = new Workbench(image, known, () => this.follow());
    await workbench.ready;
    if (signal.aborted) return;
    this.workbench = workbench;
    this.section.replaceChildren(this.#head(image.image_id, image), workbench.element);
  }

  #head(id, image) {
    return el(
      "header",
      { class: "detail-head" },
      el("a", { class: "button button-icon", href: "#/images", "data-back": true, "aria-label": "Back to the images", title: "Back (Esc)" }, icon("back")),
      el("h1", { tabindex: "-1", dir: "auto", title: image?.drop.key }, image ? fileName(image.drop.key) : "Image"),
      image && badge(image.state),
      this.#steps(id),
    );
  }

  #steps(id) {
    const { before, after } = this.neighbours(id);
    const step = (to, name, title) => {
      const attributes = { class: "button button-icon", "aria-label": title, title };
      return el("a", { ...attributes, href: to && `#/images/${to}`, "aria-disabled": to ? null : "true" }, icon(name));
    };
    const steps = [step(before, "left", "Newer image"), step(after, "right", "Older image")];
    return el("nav", { class: "detail-steps", "aria-label": "Other images" }, steps);
  }
}

function loading() {
  return el("div", { class: "bench bench-loading", "aria-busy": "true" }, el("div", { class: "stage-space" }), el("div", { class: "panel-space" }));
}

const NEXT_STEP = {
  REJECTED: "Mend or export the file, then drop it again.",
  FAILED: "Drop it again; if that fails too, the operator of this stack finds the cause in its log.",
};

function unexplained(image) {
  const open = !isFinal(image.state);
  return el(
    "div",
    { class: `notice ${open ? "notice-wait" : image.state === "REJECTED" ? "notice-warn" : "notice-bad"} notice-tall` },
    open && steps(image.state),
    el("h2", { class: "notice-title" }, open ? `${STATES[image.state].title}: ${STATES[image.state].note}` : STATES[image.state]?.title),
    image.reason && el("p", { dir: "auto" }, image.reason),
    el("p", { class: "hint" }, open ? "This page follows it; there is nothing to do." : NEXT_STEP[image.state]),
    image.predictions.length > 0 &&
      el("p", {}, "Predicted: ", el("strong", {}, image.predictions[0].label), ` ${image.predictions[0].score.toFixed(3)}`),
  );
}
