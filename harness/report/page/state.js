// What is looked at: it stands in the address after the hash, so that a view can be linked to and gone back to.
"use strict";

const state = (() => {
  function read() {
    const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
    const [page, task] = path.split("/");
    const asked = new URLSearchParams(query);
    const site = window.site;
    const whole = (name, most, otherwise) => {
      const value = Number.parseInt(asked.get(name) ?? "", 10);
      return value >= 0 && value < most ? value : otherwise;
    };
    const a = whole("a", site.runs.length, 0);
    const b = whole("b", site.runs.length, a === 0 && site.runs.length > 1 && !asked.has("b") ? 1 : null);
    const styles = site.runs[a].styles;
    const style = styles.includes(asked.get("style")) ? asked.get("style") : styles[0];
    const column = page === "items" ? site.columns.find((one) => one.name === task) : undefined;
    const stages = site.runs[a].stages.length;
    return {
      page: column ? "items" : "overview",
      column, a, b: b === a ? null : b, style, stages,
      view: asked.get("view") ?? "accuracy",
      from: whole("from", stages, column ? column.runs[a].learned : 0),
      to: whole("to", stages, stages - 1),
      show: asked.get("show") ?? "all",
      find: asked.get("find") ?? "",
      item: asked.get("item"),
    };
  }

  // The address of a view that differs from the present one in what is given; null takes a choice back.
  function address(changes) {
    const now = read();
    const page = changes.task ? `items/${changes.task}` : changes.task === null ? "" : now.column ? `items/${now.column.name}` : "";
    const asked = new URLSearchParams(location.hash.split("?")[1] ?? "");
    if (changes.task !== undefined) for (const name of ["from", "to", "show", "find", "item"]) asked.delete(name);
    for (const [name, value] of Object.entries(changes)) {
      if (name === "task") continue;
      if (value === null || value === "") asked.delete(name);
      else asked.set(name, value);
    }
    const query = asked.toString();
    return `#/${page}${query ? `?${query}` : ""}`;
  }

  function go(changes, { replace = false } = {}) {
    const next = address(changes);
    if (next === location.hash) return;
    if (replace) {
      history.replaceState(null, "", next);
      window.dispatchEvent(new HashChangeEvent("hashchange"));
    } else location.hash = next;
  }

  return { read, address, go };
})();
