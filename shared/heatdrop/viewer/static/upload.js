// Uploads: files are dropped or picked, sent three at a time, and followed until each is final.

import { image, images, summary, upload } from "./api.js";
import { announce, el } from "./dom.js";
import { bytes, score } from "./format.js";
import { DONE, poll } from "./poll.js";
import { STATES, badge, isFinal, steps } from "./states.js";

const AT_ONCE = 3;
const SHOWN = 200;

/** The panel of uploads. `onImage` is called with each image whose state has changed. */
export function uploads({ list, panel, input, zone, onImage }) {
  const waiting = [];
  const followed = new Set();
  let sending = 0;
  let watching = null;

  const take = (files) => {
    for (const file of files) {
      const row = new Row(file);
      list.prepend(row.element);
      waiting.push(row);
    }
    while (list.children.length > SHOWN) list.lastChild.remove();
    panel.hidden = list.children.length === 0;
    next();
  };

  const next = () => {
    while (sending < AT_ONCE && waiting.length) {
      sending += 1;
      send(waiting.shift());
    }
  };

  const send = async (row) => {
    try {
      const { key } = await upload(row.file, (share) => row.sent(share));
      row.key = key;
      row.stored();
      followed.add(row);
      watch();
    } catch (problem) {
      row.failed(problem);
    }
    sending -= 1;
    next();
  };

  // One poll for all unfinished files; a new file makes polling quick again.
  const watch = () => {
    watching?.abort();
    watching = new AbortController();
    poll(() => look(), { signal: watching.signal, longest: 10000 });
  };

  const look = async () => {
    let news = false;
    for (const row of [...followed]) {
      const found = await whatBecameOf(row);
      if (!found || found.state === row.state) continue;
      news = true;
      row.show(found);
      onImage(found);
      if (isFinal(found.state)) followed.delete(row);
    }
    return followed.size ? news : DONE;
  };

  connect(zone, input, take);
  return { choose: () => input.click() };
}

async function whatBecameOf(row) {
  if (row.imageId) return summary(await image(row.imageId));
  // Other keys may have the same prefix, and a page may be short.
  let pageToken;
  do {
    const page = await images({ prefix: row.key, limit: 50 }, pageToken);
    const found = page.images.find((candidate) => candidate.key === row.key);
    if (found) return found;
    pageToken = page.next_page;
  } while (pageToken);
  return null;
}

/** A file being uploaded and processed. */
class Row {
  constructor(file) {
    this.file = file;
    this.state = null;
    this.imageId = null;
    this.name = el("span", { class: "upload-name" }, file.name);
    this.status = el("span", { class: "upload-status" }, `${bytes(file.size)}, waiting to be sent`);
    this.way = el("div", { class: "upload-way" }, steps(null));
    this.element = el("li", { class: "upload" }, this.name, this.status, this.way);
  }

  sent(share) {
    this.status.textContent = share < 1 ? `sending, ${Math.round(share * 100)} %` : "sent, being stored";
  }

  stored() {
    this.status.textContent = "stored, not yet seen";
  }

  failed(problem) {
    this.element.classList.add("upload-failed");
    this.way.replaceChildren();
    this.status.textContent = problem.message;
    announce(`${this.file.name} was not sent: ${problem.message}`);
  }

  show(found) {
    this.state = found.state;
    if (!this.imageId) {
      this.imageId = found.image_id;
      const link = el("a", { class: "upload-name", href: `#/images/${found.image_id}` }, this.file.name);
      this.name.replaceWith(link);
      this.name = link;
    }
    const best = found.label === null ? null : `${found.label} ${score(found.score)}`;
    const words = found.reason ?? best ?? STATES[found.state]?.note ?? "";
    this.status.replaceChildren(badge(found.state), el("span", {}, words));
    this.way.replaceChildren(steps(found.state));
    announce(`${this.file.name}: ${STATES[found.state]?.title ?? found.state}. ${words}`);
  }
}

/** Take files that are dropped anywhere in the window, or picked. */
function connect(zone, input, take) {
  let depth = 0;
  const light = (on) => document.body.classList.toggle("dragging", on);
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => {
    if (!carriesFiles(event)) return;
    depth += 1;
    light(true);
  });
  addEventListener("dragleave", (event) => {
    if (!carriesFiles(event)) return;
    depth = Math.max(0, depth - 1);
    light(depth > 0);
  });
  addEventListener("dragover", (event) => carriesFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    depth = 0;
    light(false);
    take([...event.dataTransfer.files]);
  });
  input.addEventListener("change", () => {
    take([...input.files]);
    input.value = "";
  });
  zone.addEventListener("click", () => input.click());
}
