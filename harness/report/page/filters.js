// Which items of a task are shown: what happened to them between two stages, in a style, in one run or two.
"use strict";

const filters = (() => {
  const ABSENT = -2, MALFORMED = -1, RIGHT = 50; // as in harness.report.items
  const right = (mark) => mark >= RIGHT;
  const wrong = (mark) => mark > ABSENT && mark < RIGHT;

  // name -> [label, does an item with these marks belong]; `from`, `to`: run A; `style`: the other style; `run`: run B.
  const SHOWS = {
    all: ["All items", () => true],
    lost: ["Lost: right then, wrong now", (m) => right(m.from) && wrong(m.to)],
    won: ["Won: wrong then, right now", (m) => wrong(m.from) && right(m.to)],
    right: ["Right now", (m) => right(m.to)],
    wrong: ["Wrong now", (m) => wrong(m.to)],
    malformed: ["Malformed now", (m) => m.to === MALFORMED],
    styles: ["Styles disagree now", (m) => m.style > ABSENT && m.to > ABSENT && right(m.style) !== right(m.to)],
    onlya: ["Only A is right now", (m) => right(m.to) && wrong(m.run)],
    onlyb: ["Only B is right now", (m) => wrong(m.to) && right(m.run)],
  };

  function offered(now) {
    const styles = site.runs[now.a].styles.length > 1;
    return Object.entries(SHOWS)
      .filter(([name]) => (name.startsWith("only") ? now.b !== null : name !== "styles" || styles))
      .map(([name, [label]]) => [name, label]);
  }

  // The marks of a run's cell: in the suite's own style where it has no other.
  function marks(index, run, stage, style) {
    const found = run === null ? null : index.marks[run];
    return found ? (found[`${stage}/${style}`] ?? found[`${stage}/own`] ?? null) : null;
  }

  // The stage of run B that stands beside stage `to` of run A: of the same place and name, or the last beside the last.
  function counterpart(now) {
    const [a, b] = [site.runs[now.a].stages, site.runs[now.b].stages];
    return now.to === a.length - 1 ? b.length - 1 : now.to;
  }

  // The numbers of the items that are shown, in their order.
  function chosen(index, now) {
    const [, belongs] = SHOWS[now.show] ?? SHOWS.all;
    const other = site.runs[now.a].styles.find((style) => style !== now.style);
    const columns = {
      from: marks(index, now.a, now.from, now.style),
      to: marks(index, now.a, now.to, now.style),
      style: other ? (index.marks[now.a][`${now.to}/${other}`] ?? null) : null,
      run: now.b === null ? null : marks(index, now.b, counterpart(now), now.style),
    };
    const wanted = now.find.trim().toLowerCase();
    const at = (column, n) => (column ? column[n] : ABSENT);
    const found = [];
    for (let n = 0; n < index.ids.length; n += 1) {
      const one = { from: at(columns.from, n), to: at(columns.to, n), style: at(columns.style, n), run: at(columns.run, n) };
      if (belongs(one) && (!wanted || mentions(index, n, wanted))) found.push(n);
    }
    return found;
  }

  function mentions(index, n, wanted) {
    return [index.ids[n], index.questions[n], index.gold[n]].some((said) => said.toLowerCase().includes(wanted));
  }

  function named(mark) {
    if (mark === undefined || mark === null || mark === ABSENT) return ["absent", "not observed", "·"];
    if (mark === MALFORMED) return ["malformed", "malformed", "✕"];
    if (mark >= 100) return ["right", "right", "■"];
    if (mark >= RIGHT) return ["right", `right (${mark}%)`, "◧"];
    return mark > 0 ? ["wrong", `wrong (${mark}%)`, "◫"] : ["wrong", "wrong", "□"];
  }

  return { offered, chosen, marks, named };
})();
