// Draws the view that the address asks for, whenever it changes.
"use strict";

(() => {
  const main = document.getElementById("main");
  let drawing = 0;

  async function render() {
    const now = state.read();
    if (now.page === "items" && items.same(now)) {
      items.update(now);
      return;
    }
    const mine = (drawing += 1);
    const held = document.activeElement?.name ? { name: document.activeElement.name, value: document.activeElement.value } : null;
    choices(now);
    const nodes = now.page === "items" ? await items.page(now) : overview.page(now);
    if (mine !== drawing) return; // another view was asked for meanwhile
    main.replaceChildren(...nodes.filter(Boolean));
    document.title = `${now.column ? `${now.column.name} – ` : ""}cpt-harness report`;
    if (held) refocus(held);
    else if (main.dataset.drawn) {
      main.focus({ preventScroll: true });
      window.scrollTo(0, 0);
    }
    main.dataset.drawn = "yes";
    if (now.page === "items") await items.placed(now);
  }

  // A choice that redraws the page keeps the focus.
  function refocus({ name, value }) {
    const same = [...document.getElementsByName(name)];
    (same.find((one) => one.type !== "radio" || one.value === value) ?? same[0])?.focus();
  }

  function choices(now) {
    const { runs } = site;
    const named = runs.map((run, n) => [n, `${run.paradigm}, ${run.scale}, seed ${run.seed}`]);
    document.getElementById("choices").replaceChildren(...[
      runs.length > 1 ? select("Run A", "a", named, now.a, (value) => state.go({ a: value, b: Number(value) === now.b ? "none" : (now.b ?? "none") })) : null,
      runs.length > 1 ? select("Run B", "b", [["none", "none"], ...named.filter(([n]) => n !== now.a)], now.b ?? "none", (value) => state.go({ b: value })) : null,
      runs[now.a].styles.length > 1 ? choice("Style", "style", runs[now.a].styles.map((style) => [style, style]), now.style, (value) => state.go({ style: value })) : null,
    ].filter(Boolean));
  }

  function failed(error) {
    main.replaceChildren(el("h1", {}, "The report cannot be shown"), el("p", { class: "warning" }, error.message));
    throw error;
  }

  document.getElementById("choices").addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("skip").addEventListener("click", (event) => {
    event.preventDefault();
    main.focus();
  });
  window.addEventListener("hashchange", () => render().catch(failed));
  shards.load("site").then((site) => {
    window.site = site;
    return render();
  }).catch(failed);
})();
