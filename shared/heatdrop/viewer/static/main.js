// The page: switches between its two views, and sets the keys of each.

import { health, labels, models, summary } from "./api.js";
import { Detail } from "./detail.js";
import { addressOf, filterForm, filtersIn } from "./filters.js";
import { Gallery } from "./gallery.js";
import { shortcuts, showHelp } from "./shortcuts.js";
import { uploads } from "./upload.js";

const byId = (id) => document.getElementById(id);
const views = { images: byId("images-view"), image: byId("image-view") };

const go = (address) => {
  location.hash = address;
};

const gallery = new Gallery({
  grid: byId("grid"),
  status: byId("gallery-status"),
  more: byId("more"),
  onClear: () => go(addressOf({})),
  onPage: () => detail.showNeighbours(),
});
const detail = new Detail({
  section: views.image,
  neighbours: (id) => gallery.neighbours(id),
  onImage: (image) => gallery.show(summary(image)),
});
const filters = filterForm(byId("filters"), (chosen) => go(addressOf(chosen)));
const files = uploads({
  list: byId("uploads"),
  panel: byId("uploads-panel"),
  input: byId("files"),
  zone: byId("choose"),
  onImage: (image) => gallery.show(image),
});

let loaded = null;
let listAddress = "#/images";
let lastImage = null;

function route() {
  const [path, search = ""] = location.hash.slice(1).split("?");
  const id = /^\/images\/([0-9a-z]+)$/i.exec(path)?.[1];
  views.image.hidden = !id;
  views.images.hidden = Boolean(id);
  if (id) {
    lastImage = id;
    if (loaded === null) loadGallery({});
    detail.open(id);
    scrollTo(0, 0);
    return;
  }
  detail.close();
  listAddress = location.hash || "#/images";
  loadGallery(filtersIn(search));
  if (lastImage) gallery.focus(lastImage);
  lastImage = null;
}

function loadGallery(chosen) {
  filters.show(chosen);
  const address = addressOf(chosen);
  if (address === loaded) return;
  loaded = address;
  gallery.load(chosen);
}

async function greet() {
  const [healthy, known, names] = await Promise.allSettled([health(), models(), labels()]);
  const light = byId("connection");
  light.dataset.state = healthy.status === "fulfilled" ? "good" : "bad";
  light.querySelector("span").textContent = healthy.status === "fulfilled" ? "connected" : "no API";
  light.title = healthy.status === "fulfilled" ? "The API answers" : healthy.reason.message;
  filters.offer(names.value ?? [], known.value ?? []);
  filters.show(filtersIn(location.hash.split("?")[1] ?? ""));
}

const step = (to) => {
  const { before, after } = gallery.neighbours(lastImage);
  const id = to === "before" ? before : after;
  if (id) go(`#/images/${id}`);
};
const bench = () => detail.workbench;
const workbenchKey = (meaning, act) => [meaning, () => bench() && act(bench())];

shortcuts("Everywhere", () => true, { "?": ["this list", showHelp], u: ["choose files to upload", () => files.choose()] });
shortcuts("Images", () => !views.images.hidden, {
  "/": ["narrow by key", () => filters.focus()],
  ArrowRight: ["to the images", () => gallery.focus()],
  ArrowDown: ["to the images; then the arrows move", () => gallery.focus()],
});
shortcuts("One image", () => !views.image.hidden, {
  Escape: ["back to the images", () => go(listAddress)],
  ArrowLeft: ["newer image", () => step("before")],
  ArrowRight: ["older image", () => step("after")],
  h: workbenchKey("heatmap on or off", (table) => table.toggle()),
  e: workbenchKey("next layer", (table) => table.nextLayer()),
  c: workbenchKey("next colour map", (table) => table.nextColours()),
  "[": workbenchKey("less opaque", (table) => table.turn("opacity", -0.05)),
  "]": workbenchKey("more opaque", (table) => table.turn("opacity", 0.05)),
  ",": workbenchKey("lower threshold", (table) => table.turn("threshold", -0.05)),
  ".": workbenchKey("higher threshold", (table) => table.turn("threshold", 0.05)),
  ...Object.fromEntries([1, 2, 3].map((n) => [n, workbenchKey(`class ${n}`, (table) => table.chooseClass(n - 1))])),
});

byId("help").addEventListener("click", showHelp);
byId("filters-toggle").addEventListener("click", ({ currentTarget: toggle }) => {
  toggle.setAttribute("aria-expanded", toggle.getAttribute("aria-expanded") === "false");
});
views.image.addEventListener("click", (event) => {
  const back = event.target.closest("[data-back]");
  if (back) back.href = listAddress;
});
addEventListener("hashchange", route);

// The token of the link is now in a cookie; remove it from the URL and the history.
if (location.search) history.replaceState(null, "", `/${location.hash}`);
route();
greet();
