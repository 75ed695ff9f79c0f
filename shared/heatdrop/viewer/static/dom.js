// Makes elements without parsing HTML, so that data from outside can only become text.

/** Make an element. Functions become event listeners ("onclick"); null, undefined and false are left out. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An icon from the page's own set. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

let number = 0;

/** An id that is unique on the page. */
export function freshId(prefix) {
  number += 1;
  return `${prefix}-${number}`;
}

/** Tell a screen reader what has just happened. */
export function announce(text) {
  document.getElementById("announcer").textContent = text;
}

/** Whether a key pressed here belongs to a field and not to the page. */
export function isTyping(target) {
  return target instanceof HTMLElement && target.matches("input, select, textarea, [contenteditable]");
}

/** An error message, with a button to continue. */
export function failure(problem, retry) {
  return el(
    "div",
    { class: "notice notice-bad", role: "alert" },
    el("h2", { class: "notice-title" }, problem.title ?? "Something went wrong"),
    el("p", {}, problem.message),
    retry && el("button", { class: "button", type: "button", onclick: retry }, "Try again"),
  );
}
