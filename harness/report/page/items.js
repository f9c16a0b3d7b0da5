// A task's page: filters, the list of its items, and beside it the one that is looked at.
"use strict";

const items = (() => {
  const ROW = 36; // pixels
  let opened = null; // {key, index, table, shown, places, active}

  async function page(now) {
    const index = await shards.load(`items/${now.column.name}`);
    const list = el("div", { id: "list", tabindex: "0", "aria-label": `Items of ${now.column.name}`, "aria-describedby": "keys", on: { keydown: pressed } });
    const nodes = [
      el("p", { class: "back" }, el("a", { href: state.address({ task: null }) }, "← All tasks")),
      el("h1", {}, now.column.name),
      el("div", { id: "filters" }),
      el("p", { id: "count", role: "status" }),
      el("div", { class: "split" },
        el("section", { class: "list", "aria-label": "Items" }, el("div", { class: "box" }, list), // the box has the height
          el("p", { class: "hint", id: "keys" }, "Arrow keys, Page and Home/End move through the items, Enter opens one, Escape comes back."), legend()),
        el("section", { id: "item", class: "item", "aria-label": "Item", on: { keydown: left } })),
    ];
    opened = { key: keyOf(now), index, list, shown: [], active: null, table: null };
    return nodes;
  }

  // After the page is in the document: the table needs its size.
  async function placed(now) {
    const mine = opened;
    mine.table = new Tabulator(mine.list, {
      data: mine.index.ids.map((_, n) => ({ n })), index: "n", columns: columns(now, mine.index),
      height: "100%", rowHeight: ROW, layout: "fitColumns", responsiveLayout: "hide", keybindings: false,
      placeholder: el("p", { class: "none" }, "No item is like that."), rowFormatter: dressed,
      columnDefaults: { headerSort: false, resizable: false },
    });
    await new Promise((done) => mine.table.on("tableBuilt", done));
    mine.list.querySelector(".tabulator-tableholder").tabIndex = -1; // the list itself is what has the focus
    mine.table.on("rowClick", (_, row) => choose(row.getData().n, { push: true }));
    if (opened === mine) update(state.read());
  }

  const keyOf = (now) => [now.column?.name, now.a, now.b, now.style].join("|");
  const same = (now) => opened !== null && opened.key === keyOf(now) && opened.list.isConnected;

  function columns(now, index) {
    const titled = (title, draw, given = {}) => ({ title, titleFormatter: () => el("span", {}, title), formatter: (cell) => draw(cell.getData().n), ...given });
    const shared = sharedLetters(index.ids);
    const found = [
      titled("item", (n) => el("span", {}, index.ids[n].slice(shared)), { widthGrow: 2, minWidth: 90, responsive: 0 }),
      titled("question", (n) => el("span", { dir: "auto" }, index.questions[n]), { widthGrow: 4, minWidth: 110, responsive: 3 }),
      titled("gold", (n) => el("span", { dir: "auto" }, index.gold[n]), { widthGrow: 1, minWidth: 70, responsive: 2 }),
    ];
    for (const [letter, run] of [["A", now.a], ["B", now.b]]) {
      if (run === null) continue;
      const stages = site.runs[run].stages;
      const title = now.b === null ? "by stage" : `${letter} by stage`;
      found.push(titled(title, (n) => strip(index, run, stages, now.style, n), { width: Math.max(stages.length * 14 + 20, 120), responsive: letter === "A" ? 0 : 1 }));
    }
    return found;
  }

  // How many letters all ids begin with, up to a slash: the list leaves them out.
  function sharedLetters(ids) {
    let length = ids.length > 1 ? ids[0].lastIndexOf("/") + 1 : 0;
    while (length && !ids.every((id) => id.startsWith(ids[0].slice(0, length)))) length = ids[0].lastIndexOf("/", length - 2) + 1;
    return length;
  }

  function strip(index, run, stages, style, n) {
    const said = stages.map((stage, at) => [stage, filters.named(filters.marks(index, run, at, style)?.[n])]);
    const label = said.map(([stage, [, words]]) => `${stage} ${words}`).join(", ");
    return el("span", { class: "strip", role: "img", "aria-label": label, title: label }, said.map(([, [kind, , sign]]) => el("i", { class: kind }, sign)));
  }

  function legend() {
    const kinds = [100, 60, 0, -1, -2].map((mark) => filters.named(mark));
    return el("p", { class: "hint strip-key" }, kinds.map(([kind, words, sign]) => el("span", {}, el("i", { class: kind, "aria-hidden": "true" }, sign), ` ${words.replace(" (60%)", ", in part")}`)));
  }

  function dressed(row) {
    const { n } = row.getData();
    const element = row.getElement();
    element.id = `row-${n}`;
    element.setAttribute("aria-rowindex", String((opened.places?.get(n) ?? n) + 2));
    element.classList.toggle("active", n === opened.active);
    element.setAttribute("aria-selected", String(n === opened.active));
  }

  function update(now) {
    const { index, table } = opened;
    drawFilters(now);
    const criteria = [now.from, now.to, now.show, now.find].join("|");
    if (opened.criteria !== criteria) {
      opened.criteria = criteria;
      opened.shown = filters.chosen(index, now);
      opened.places = new Map(opened.shown.map((n, place) => [n, place]));
      if (opened.shown.length === index.ids.length) table.clearFilter();
      else table.setFilter((row) => opened.places.has(row.n));
      opened.list.setAttribute("aria-rowcount", String(opened.shown.length + 1));
      document.getElementById("count").textContent = `${text.count(opened.shown.length)} of ${text.count(index.ids.length)} items`;
    }
    const wanted = now.item === null ? -1 : index.ids.indexOf(now.item);
    show(wanted >= 0 ? wanted : null, now);
  }

  function drawFilters(now) {
    const place = document.getElementById("filters");
    const stages = site.runs[now.a].stages.map((stage, n) => [n, n ? `${n} ${stage}` : stage]);
    if (place.childElementCount) {
      for (const name of ["show", "from", "to"]) place.querySelector(`[name=${name}]`).value = String(now[name]);
      return;
    }
    let waiting = 0;
    const find = el("input", { type: "search", name: "find", value: now.find, on: { input: (event) => {
      clearTimeout(waiting);
      waiting = setTimeout(() => state.go({ find: event.target.value }, { replace: true }), 150);
    } } });
    place.append(
      select("Items", "show", filters.offered(now), now.show, (value) => state.go({ show: value === "all" ? null : value })),
      select("Then", "from", stages, now.from, (value) => state.go({ from: value })),
      select("Now", "to", stages, now.to, (value) => state.go({ to: value })),
      el("label", { class: "select" }, el("span", {}, "Find"), find),
    );
  }

  // The item that is looked at; its row is scrolled to and its replies are drawn.
  async function show(n, now) {
    const before = opened.active;
    opened.active = n;
    for (const one of [before, n]) {
      const row = one === null ? null : document.getElementById(`row-${one}`);
      if (row) {
        row.classList.toggle("active", one === n);
        row.setAttribute("aria-selected", String(one === n));
      }
    }
    if (n === null) opened.list.removeAttribute("aria-activedescendant");
    else if (opened.places.has(n)) {
      const row = opened.table.getRow(n);
      if (row) await opened.table.scrollToRow(row, "nearest", false).catch(() => {}); // filtered out meanwhile
      opened.list.setAttribute("aria-activedescendant", `row-${n}`);
    }
    await item.draw(document.getElementById("item"), opened.index, n, now, step);
  }

  function choose(n, { push = false } = {}) {
    state.go({ item: n === null ? null : opened.index.ids[n] }, { replace: !push });
  }

  function step(by) {
    if (!opened.shown.length) return;
    const place = opened.places.get(opened.active) ?? -1;
    const next = Math.min(Math.max(place + by, 0), opened.shown.length - 1);
    choose(opened.shown[next]);
  }

  function pressed(event) {
    const page = Math.max(Math.floor(opened.list.clientHeight / ROW) - 2, 1);
    const moves = { ArrowDown: 1, ArrowUp: -1, j: 1, k: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key in moves) step(moves[event.key]);
    else if (event.key === "Enter") document.querySelector("#item h2")?.focus();
    else return;
    event.preventDefault();
  }

  function left(event) {
    if (event.key !== "Escape") return;
    opened.list.focus();
    event.preventDefault();
  }

  return { page, placed, update, same };
})();
