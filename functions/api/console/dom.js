// The only module that makes elements. Text is always a text node, so no name, label or reason becomes markup.

import { NOTHING } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";

/** An element. attributes: by name; `on` holds listeners by event; null and false leave an attribute out. */
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** An element of SVG. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

/** Text that somebody else has chosen: its direction of writing does not reach what is around it. */
export function given(text) {
  return el("bdi", {}, text);
}

/** A form of selects, each with its label. changed: called with the values by name. choices: {name: [label, options, chosen]}. */
export function chooser(name, choices, changed, role = null) {
  const selects = Object.entries(choices).map(([id, [label, options, chosen]]) => {
    const made = Object.entries(options).map(([value, text]) => el("option", { value, selected: value === chosen }, text));
    return [label, el("select", { id, "data-key": id }, ...made)];
  });
  const values = () => Object.fromEntries(selects.map(([, select]) => [select.id, select.value]));
  for (const [, select] of selects) select.addEventListener("change", () => changed(values()));
  return el(
    "form",
    { class: "filter", role, "aria-label": name, on: { submit: (event) => event.preventDefault() } },
    ...selects.map(([label, select]) => el("span", { class: "field" }, el("label", { for: select.id }, label), select)),
  );
}

/** A table with a caption, which may scroll sideways. columns: [heading, "number", "when", "reason" or ""]; rows: lists
 * of cells. Its roles are spelled out because style.css lays it out as blocks on a narrow screen. */
export function table(caption, columns, rows, empty = "There are none.") {
  if (rows.length === 0) return el("p", { class: "empty" }, empty);
  const cell = (content, at) => {
    const attributes = { class: columns[at][1] || null, "data-column": columns[at][0] };
    const parts = Array.isArray(content) ? content : [content];
    if (at === 0) return el("th", { ...attributes, scope: "row", role: "rowheader" }, ...parts);
    const found = el("td", { ...attributes, role: "cell" }, el("div", {}, ...parts));
    if (found.textContent === NOTHING) found.classList.add("none");
    return found;
  };
  const heading = ([name, kind]) => el("th", { scope: "col", role: "columnheader", class: kind || null }, name);
  return el(
    "div",
    { class: "scrolls", role: "region", "aria-label": caption, tabindex: "0", "data-key": `table ${caption}` },
    el(
      "table",
      { role: "table" },
      el("caption", { class: "visually-hidden" }, caption),
      el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...columns.map(heading))),
      el("tbody", { role: "rowgroup" }, ...rows.map((row) => el("tr", { role: "row" }, ...row.map(cell)))),
    ),
  );
}

/** Puts other content into a place; what had the focus there has it again, what was open is open, and what was
 * scrolled is scrolled. */
export function replace(place, ...children) {
  const focused = place.contains(document.activeElement) ? keyOf(document.activeElement) : null;
  const opened = new Set([...place.querySelectorAll("details[open]")].map(keyOf));
  const scrolled = new Map([...place.querySelectorAll(".scrolls")].map((one) => [keyOf(one), one.scrollLeft]));
  place.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined));
  for (const one of place.querySelectorAll(".scrolls")) one.scrollLeft = scrolled.get(keyOf(one)) ?? 0;
  for (const details of place.querySelectorAll("details")) if (opened.has(keyOf(details))) details.open = true;
  if (focused === null) return;
  for (const one of place.querySelectorAll("[data-key], a[href]")) {
    if (keyOf(one) === focused) return one.focus({ preventScroll: true });
  }
}

function keyOf(element) {
  return element.dataset.key ?? element.getAttribute("href");
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}
