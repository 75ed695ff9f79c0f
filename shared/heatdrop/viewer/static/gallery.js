// The images, newest first: a grid that loads more while scrolling and updates itself.

import { fileUrl, images } from "./api.js";
import { el, failure, icon } from "./dom.js";
import { fits, query } from "./filters.js";
import { fileName, moment, score, shortMoment } from "./format.js";
import { poll } from "./poll.js";
import { STATES, badge, isFinal } from "./states.js";

const PAGE = 24;
const EMPTY_PAGES = 20;

export class Gallery {
  constructor({ grid, status, more, onClear, onPage }) {
    Object.assign(this, { grid, status, more, onClear, onPage });
    this.cards = new Map();
    this.filters = {};
    this.nextPage = null;
    this.loading = new AbortController();
    grid.addEventListener("keydown", (event) => this.#move(event));
    grid.addEventListener("focusin", (event) => this.#makeReachable(event.target.closest(".card")));
    more.addEventListener("click", () => this.#loadMore(true));
    const nearby = ([seen]) => seen.isIntersecting && this.#loadMore(false);
    this.observer = new IntersectionObserver(nearby, { rootMargin: "400px" });
  }

  /** Show the images that match `filters`, newest first. */
  async load(filters) {
    this.loading.abort();
    this.loading = new AbortController();
    this.filters = filters;
    this.nextPage = null;
    this.cards.clear();
    this.grid.replaceChildren(...Array.from({ length: 6 }, () => el("li", { class: "card-space" })));
    this.grid.setAttribute("aria-busy", "true");
    this.more.hidden = true;
    this.status.replaceChildren();
    const { signal } = this.loading;
    try {
      await this.#fetchPage(signal);
      poll(() => this.#refresh(signal), { first: 5000, longest: 60000, signal });
    } catch (problem) {
      if (!signal.aborted) {
        this.grid.replaceChildren();
        this.status.replaceChildren(failure(problem, () => this.load(filters)));
      }
    }
  }

  /** Add an image, or update it. */
  show(image) {
    const card = this.cards.get(image.image_id);
    const belongs = fits(image, this.filters);
    if (card && belongs) card.show(image);
    else if (card) {
      this.cards.delete(image.image_id);
      card.element.remove();
    } else if (belongs && !this.grid.hasAttribute("aria-busy")) this.#put(image, true);
    this.#sayHowMany();
  }

  /** The previous and next image of one, in the order shown. */
  neighbours(id) {
    const ids = [...this.grid.children].map((item) => item.dataset.id);
    const at = ids.indexOf(id);
    return at < 0 ? {} : { before: ids[at - 1], after: ids[at + 1] };
  }

  focus(id) {
    const card = this.cards.get(id)?.link ?? this.grid.querySelector(".card");
    card?.focus();
  }

  async #loadMore(asked) {
    if (!this.nextPage || this.more.disabled || this.grid.closest("[hidden]")) return;
    const { signal } = this.loading;
    const before = this.cards.size;
    this.more.disabled = true;
    try {
      await this.#fetchPage(signal);
    } catch (problem) {
      if (!signal.aborted) this.status.replaceChildren(failure(problem, () => this.#loadMore(asked)));
    }
    this.more.disabled = false;
    if (asked) [...this.cards.values()][before]?.link.focus();
  }

  async #fetchPage(signal) {
    const already = this.cards.size;
    // A page may be empty and still have a next one; an endless row of them is left to the person.
    for (let turn = 0; turn < EMPTY_PAGES; turn += 1) {
      const page = await images({ ...query(this.filters), limit: PAGE }, this.nextPage);
      if (signal.aborted) return;
      if (this.grid.hasAttribute("aria-busy")) {
        this.grid.replaceChildren();
        this.grid.removeAttribute("aria-busy");
      }
      for (const image of page.images) if (!this.cards.has(image.image_id)) this.#put(image, false);
      this.nextPage = page.next_page;
      if (!this.nextPage || this.cards.size - already >= PAGE / 2) break;
    }
    this.more.hidden = !this.nextPage;
    // Observed anew: after a short page the button may still be near, which alone would be no news.
    this.observer.unobserve(this.more);
    this.observer.observe(this.more);
    this.onPage();
    this.status.replaceChildren();
    this.#sayHowMany();
  }

  async #refresh(signal) {
    const page = await images({ ...query(this.filters), limit: PAGE });
    if (signal.aborted) return false;
    let news = false;
    for (const image of page.images.toReversed()) {
      const card = this.cards.get(image.image_id);
      if (card?.image.state === image.state) continue;
      news = true;
      if (card) card.show(image);
      else this.#put(image, true);
    }
    this.#sayHowMany();
    return news;
  }

  #put(image, first) {
    const card = new Card(image);
    this.cards.set(image.image_id, card);
    if (first) this.grid.prepend(card.element);
    else this.grid.append(card.element);
    if (this.grid.querySelectorAll('.card[tabindex="0"]').length === 0) card.link.tabIndex = 0;
  }

  #sayHowMany() {
    if (this.grid.hasAttribute("aria-busy")) return;
    const filtered = Object.values(this.filters).some(Boolean);
    if (this.cards.size === 0 && !this.nextPage) this.status.replaceChildren(nothing(filtered, this.onClear));
    else this.status.querySelector(".notice-empty")?.remove();
    this.grid.setAttribute("aria-label", `${this.cards.size}${this.nextPage ? " or more" : ""} images`);
  }

  /** One card can be reached with Tab, the others from there with the arrow keys. */
  #makeReachable(link) {
    if (!link) return;
    for (const other of this.grid.querySelectorAll('.card[tabindex="0"]')) other.tabIndex = -1;
    link.tabIndex = 0;
  }

  #move(event) {
    const links = [...this.grid.querySelectorAll(".card")];
    const at = links.indexOf(event.target.closest(".card"));
    if (at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const top = links[0].offsetTop;
    const columns = links.findIndex((link) => link.offsetTop !== top);
    const down = columns < 0 ? links.length : columns;
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at + down, ArrowUp: at - down };
    Object.assign(to, { Home: 0, End: links.length - 1 });
    if (!(event.key in to)) return;
    event.preventDefault();
    links[to[event.key]]?.focus();
  }
}

class Card {
  constructor(image) {
    this.link = el("a", { class: "card", href: `#/images/${image.image_id}`, tabindex: "-1" });
    this.element = el("li", { "data-id": image.image_id }, this.link);
    this.show(image);
  }

  show(image) {
    this.image = image;
    const name = fileName(image.key);
    const classified = image.label !== null;
    this.link.title = image.key;
    this.link.replaceChildren(
      thumbnail(image, name),
      el(
        "span",
        { class: "card-text" },
        el("span", { class: "card-name" }, name),
        classified && el("span", { class: "card-best" }, el("span", { class: "card-label" }, image.label), score(image.score)),
        classified && bar(image.score),
        !classified && el("span", { class: "card-best card-reason" }, image.reason ?? STATES[image.state]?.note ?? ""),
        el("span", { class: "card-foot" }, badge(image.state), el("time", { datetime: image.created_at, title: moment(image.created_at) }, shortMoment(image.created_at))),
      ),
    );
  }
}

function thumbnail(image, name) {
  if (image.state === "EXPLAINED") {
    // The best class always has a heatmap.
    const src = fileUrl(image.image_id, "overlay", image.label);
    const alt = `Heatmap of ${image.label} over ${name}`;
    const picture = el("img", { src, alt, loading: "lazy", decoding: "async", width: "256", height: "256" });
    picture.addEventListener("error", () => picture.replaceWith(icon("image")), { once: true });
    return el("span", { class: "card-picture" }, picture);
  }
  const { icon: sign = "image" } = STATES[image.state] ?? {};
  const kind = isFinal(image.state) ? `card-none card-${image.state.toLowerCase()}` : "card-open";
  return el("span", { class: `card-picture ${kind}` }, icon(sign));
}

/** A score as a bar; the number stands beside it. */
export function bar(value) {
  const filled = el("span", { class: "bar-filled" });
  filled.style.inlineSize = `${(value * 100).toFixed(1)}%`;
  return el("span", { class: "bar", "aria-hidden": "true" }, filled);
}

function nothing(filtered, clear) {
  return el(
    "div",
    { class: "notice notice-empty" },
    icon("image"),
    el("h2", { class: "notice-title" }, filtered ? "Nothing fits these filters" : "No images yet"),
    el("p", {}, filtered ? "Loosen or clear them." : "Drop the first one: it comes back with its heatmaps."),
    filtered && el("button", { class: "button", type: "button", onclick: clear }, "Clear filters"),
  );
}
