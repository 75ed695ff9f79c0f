// The gallery's filter form. Its values are kept in the page's URL, so that the Back button restores them.

import { el } from "./dom.js";
import { STATES } from "./states.js";

const NAMES = ["state", "label", "min_score", "model", "since", "prefix"];
const HOUR = 3600e3;
const SPANS = { "1h": HOUR, "24h": 24 * HOUR, "7d": 168 * HOUR, "30d": 720 * HOUR };
const TYPING_PAUSE = 300;

/** The filters in a URL fragment like `#/images?state=FAILED`. */
export function filtersIn(search) {
  const given = new URLSearchParams(search);
  return Object.fromEntries(NAMES.filter((name) => given.get(name)).map((name) => [name, given.get(name)]));
}

/** The URL fragment for filters. */
export function addressOf(filters) {
  const given = new URLSearchParams(Object.entries(filters).filter(([, value]) => value)).toString();
  return `#/images${given ? `?${given}` : ""}`;
}

/** The API's query parameters for filters. */
export function query(filters) {
  const span = SPANS[filters.since];
  return { ...filters, since: span && new Date(Date.now() - span).toISOString() };
}

/** Whether a changed image matches the filters. */
export function fits(image, { state, label, min_score: least, model, since, prefix }) {
  return (
    (!state || image.state === state) &&
    (!label || image.label === label) &&
    (!least || (image.score ?? 0) >= Number(least)) &&
    (!model || image.model?.version === model) &&
    (!since || Date.now() - new Date(image.created_at) <= SPANS[since]) &&
    (!prefix || image.key.startsWith(prefix))
  );
}

/** Connect the form; `onChange` is called with the chosen filters. */
export function filterForm(form, onChange) {
  const fields = form.elements;
  const output = form.querySelector("output");
  fill(fields.state, Object.entries(STATES).map(([name, { title }]) => [name, title]));
  let timer = 0;

  const values = () => {
    const chosen = Object.fromEntries(NAMES.map((name) => [name, fields[name].value]));
    if (Number(chosen.min_score) === 0) chosen.min_score = "";
    return chosen;
  };
  const showScore = () => {
    const least = Number(fields.min_score.value);
    output.value = least ? `≥ ${least.toFixed(2)}` : "any";
  };
  form.addEventListener("input", (event) => {
    showScore();
    clearTimeout(timer);
    timer = setTimeout(() => onChange(values()), event.target.type === "search" ? TYPING_PAUSE : 0);
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(() => (showScore(), onChange({}))));

  return {
    show(filters) {
      for (const name of NAMES) fields[name].value = filters[name] ?? (name === "min_score" ? "0" : "");
      showScore();
      fields.clear.hidden = Object.keys(filters).length === 0;
    },
    offer(labels, models) {
      fill(fields.label, labels.map((label) => [label, label]));
      fill(fields.model, models.map(({ name, version }) => [version, `${name} ${version.slice(0, 8)}`]));
      fields.model.closest("label").hidden = models.length < 2;
    },
    focus: () => fields.prefix.focus(),
  };
}

function fill(select, choices) {
  const chosen = select.value;
  select.replaceChildren(select.options[0], ...choices.map(([value, text]) => el("option", { value }, text)));
  select.value = chosen;
}
