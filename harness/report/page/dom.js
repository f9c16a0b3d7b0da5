// Elements of the page. Text of replies and data sets goes through here as text nodes, never as markup.
"use strict";

// el("td", {class: "right", on: {click: go}}, "text", node, ...): an element with attributes, listeners and children.
function el(tag, given = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (name === "on") for (const [event, heard] of Object.entries(value)) node.addEventListener(event, heard);
    else if (name === "style") for (const [property, set] of Object.entries(value)) node.style.setProperty(property, set);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, String(value));
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const text = {
  percent: (share) => (share === null || share === undefined ? "–" : (100 * share).toFixed(1).replace(/^-0\.0$/, "0.0").replace("-", "−")),
  points: (share) => {
    if (share === null || share === undefined) return "–";
    const said = (100 * share).toFixed(1);
    return said.startsWith("-") ? (Number(said) === 0 ? "+0.0" : `−${said.slice(1)}`) : `+${said}`;
  },
  count: (number) => Number(number).toLocaleString("en"),
  words: (name) => name.replaceAll("_", " "),
};

// A table with a caption: rows of cells, of which the first is the row's heading.
function table(caption, headings, rows, given = {}) {
  return el("table", given,
    el("caption", {}, caption),
    el("thead", {}, el("tr", {}, headings.map((heading) => (heading.nodeType ? heading : el("th", { scope: "col" }, heading))))),
    el("tbody", {}, rows.map(([first, ...rest]) =>
      el("tr", {}, el("th", { scope: "row" }, first), rest.map((cell) => (cell?.tagName === "TD" ? cell : el("td", {}, cell)))))));
}

// A choice of one among several as a group of radio buttons, which the arrow keys move through.
function choice(label, name, options, chosen, changed) {
  return el("fieldset", { class: "choice" },
    el("legend", {}, label),
    options.map(([value, said]) =>
      el("label", {},
        el("input", { type: "radio", name, value, checked: value === chosen, on: { change: () => changed(value) } }),
        el("span", {}, said))));
}

function select(label, name, options, chosen, changed) {
  const list = el("select", { name, on: { change: (event) => changed(event.target.value) } },
    options.map(([value, said]) => el("option", { value, selected: String(value) === String(chosen) }, said)));
  return el("label", { class: "select" }, el("span", {}, label), list);
}
