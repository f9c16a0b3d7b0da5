// The first page: what the runs are, their metrics, their matrices, their curves, their records.
"use strict";

const overview = (() => {
  const runs = () => window.site.runs;
  const valueOf = (found) => (found ? found[0] : null); // a number of the report is [value, low, high], or null
  const scoresOf = (run, style, column) => run.cells[style]?.[column.name]?.map(valueOf);
  const titles = { accuracy: "Accuracy, percent", change: "Change since the base, points", flips: "Items lost and won", difference: "B minus A, points" };

  function page(now) {
    const [a, b] = [runs()[now.a], now.b === null ? null : runs()[now.b]];
    return [
      el("h1", {}, b ? "Two runs side by side" : "One run"),
      notes(a, b),
      el("section", { "aria-labelledby": "h-matrix" }, el("h2", { id: "h-matrix" }, "After every stage"), matrices(now, a, b)),
      el("section", { "aria-labelledby": "h-metrics" }, el("h2", { id: "h-metrics" }, "Learned and forgotten"),
        el("p", { class: "hint" }, "The intervals are about these very runs: how other seeds would differ, one seed cannot say (harness compare)."), metrics(now, a, b)),
      el("section", { "aria-labelledby": "h-curves" }, el("h2", { id: "h-curves" }, "Learning curves"), curves(now, a, b)),
      training(a, b),
      el("section", { "aria-labelledby": "h-record" }, el("h2", { id: "h-record" }, "What was run"), [a, b].filter(Boolean).map(record)),
    ];
  }

  function notes(a, b) {
    const said = [];
    for (const run of [a, b].filter(Boolean)) {
      const letter = b ? (run === a ? "A: " : "B: ") : "";
      said.push(el("li", {}, letter, el("strong", {}, run.paradigm), ` on ${run.stream} at ${run.scale}, seed ${run.seed} `, el("code", {}, run.id)));
      if (!run.finished) said.push(el("li", { class: "warning" }, `${letter}This run is not finished: ${text.count(run.missing)} cells are still to come.`));
      const at = runs().indexOf(run);
      const strange = window.site.columns.filter((column) => !column.runs[at].known).map((column) => column.name);
      if (strange.length) said.push(el("li", { class: "warning" }, `${letter}The items of ${strange.join(", ")} are no longer those that this run was asked: their questions and pictures are left out.`));
    }
    return el("ul", { class: "notes" }, said);
  }

  function matrices(now, a, b) {
    const views = Object.entries(titles).filter(([name]) => name !== "difference" || b);
    const view = titles[now.view] && (now.view !== "difference" || b) ? now.view : "accuracy";
    const drawn = view === "difference" ? [matrix(now, view, a, b)] : [matrix(now, view, a, null, b ? "A" : "")];
    if (b && view !== "difference") drawn.push(matrix({ ...now, a: now.b, b: now.a }, view, b, null, "B"));
    return [
      choice("Show", "view", views, view, (value) => state.go({ view: value })),
      el("p", { class: "hint" }, "Rows are stages, columns are tasks and then suites: read a column downwards. A framed cell is the task that the stage trained. Open a number to see its items."),
      drawn,
    ];
  }

  function matrix(now, view, run, other, letter = "") {
    const style = run.styles.includes(now.style) ? now.style : run.styles[0];
    const columns = window.site.columns.filter((column) => run.cells[style][column.name]);
    const rows = run.stages.map((stage, index) => [
      stage,
      ...columns.map((column) => cell({ now, view, run, other, style, column, index })),
    ]);
    const caption = `${letter ? `${letter}, ${run.paradigm}: ` : ""}${titles[view]}, ${style} style`;
    return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
      table(caption, ["after stage", ...columns.map((column) => heading(column))], rows, { class: "matrix" }));
  }

  function heading(column) {
    return el("th", { scope: "col" }, el("a", { href: state.address({ task: column.name }) }, column.name));
  }

  function cell({ now, view, run, other, style, column, index }) {
    const scores = scoresOf(run, style, column);
    const flips = column.runs[now.a].flips[style] ?? column.runs[now.a].flips.own;
    const beside = other?.stages[index] === run.stages[index]; // stages of other names do not compare
    const others = beside ? scoresOf(other, style, column) : null;
    const [value, said] = valued(view, { scores, flips, items: column.items, others }, index);
    const trained = run.trained[index].includes(column.name);
    const [, low, high] = run.cells[style][column.name][index] ?? [];
    const sure = view === "accuracy" && low !== undefined ? `, 95% interval ${text.percent(low)} to ${text.percent(high)}` : "";
    const name = `${column.name} after ${run.stages[index]}: ${said}${sure}${trained ? ", trained here" : ""}`;
    const target = state.address({ task: column.name, to: index, a: now.a, b: now.b, style });
    const inside = said === "–" ? el("span", { class: "absent" }, said) : el("a", { href: target, "aria-label": name, title: name }, said);
    return el("td", { class: trained ? "trained" : null, style: { "background-color": tint(view, value) } }, inside);
  }

  function valued(view, { scores, flips, items, others }, index) {
    const score = scores[index];
    const minus = (left, right) => (left === null || right === null || left === undefined || right === undefined ? null : left - right);
    if (view === "accuracy") return [score, text.percent(score)];
    if (view === "flips") {
      const found = flips?.[index];
      return [found ? (4 * (found[1] - found[0])) / items : null, found ? `−${found[0]} +${found[1]}` : "–"];
    }
    const difference = view === "change" ? minus(score, scores[0]) : minus(others?.[index], score);
    return [difference, text.points(difference)];
  }

  // White for nothing, blue for more, orange for less; light enough that the ink keeps its contrast.
  function tint(view, value) {
    if (value === null || value === undefined) return "transparent";
    const [share, hue] = view === "accuracy" ? [value, "#8fc1ea"] : [Math.min(Math.abs(value) / 0.4, 1), value < 0 ? "#f2ab73" : "#8fc1ea"];
    return `color-mix(in srgb, ${hue} ${Math.round(100 * share)}%, white)`;
  }

  function metrics(now, a, b) {
    const style = now.style;
    const columns = b ? [["A", a, style], ["B", b, style]] : a.styles.map((name) => [`${name} style${name === a.styles[0] ? " (own)" : ""}`, a, name]);
    const rows = window.site.metrics.map((metric) => {
      const values = columns.map(([, run, name]) => interval(run.metrics[name]?.[metric.name], metric.points));
      if (b) values.push(interval(a.minus[now.b][style]?.[metric.name], true));
      return [text.words(metric.name), ...values, el("td", {}, el("code", {}, metric.equation)), metric.sign];
    });
    const caption = `Metrics${b ? ` in the ${style} style` : ""}; shares in percent, differences in points, with 95% intervals over the items`;
    const headings = ["metric", ...columns.map(([said]) => said), ...(b ? ["B − A"] : []), "equation", "reads"];
    return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, table(caption, headings, rows, { class: "metrics" }));
  }

  function interval(found, points) {
    const said = points ? text.points : text.percent;
    return el("td", { class: "number" }, said(valueOf(found)), found ? el("small", {}, ` ${said(found[1])} to ${said(found[2])}`) : null);
  }

  function curves(now, a, b) {
    const lines = (column) => {
      const found = [];
      for (const [n, run] of [a, b].entries()) {
        if (!run) continue;
        for (const style of b ? [now.style] : run.styles) {
          const values = scoresOf(run, style, column);
          if (values) found.push({ label: b ? `${"AB"[n]}, ${style} style` : `${style} style`, values, colour: COLOURS[n], dashed: !b && style !== run.styles[0] });
        }
      }
      return found;
    };
    const columns = window.site.columns.filter((column) => lines(column).length);
    const [width, height] = document.documentElement.clientWidth < 560 ? [165, 110] : [232, 132];
    return [
      el("p", { class: "hint" }, "Accuracy in percent after every stage, from the base (0) on. The dashed upright line is the stage that trains the task."),
      columns.length ? charts.key(lines(columns[0])) : null,
      el("div", { class: "curves" }, columns.map((column) => {
        const learned = column.runs[now.a].learned;
        const stages = Math.max(...lines(column).map((line) => line.values.length));
        const label = `${column.name}: ${lines(column).map((line) => `${line.label} ${line.values.map(text.percent).join(", ")}`).join("; ")}`;
        return el("figure", {},
          el("figcaption", {}, el("a", { href: state.address({ task: column.name }) }, column.name)),
          charts.plot({ label, xs: [...Array(stages).keys()], lines: lines(column), width, height, marks: learned ? [learned] : [] }));
      })),
    ];
  }

  // Reward or loss of every optimiser step, where the run kept them.
  function training(a, b) {
    const kept = [a, b].filter((run) => run && run.steps.stage.length);
    if (!kept.length) return null;
    const drawn = kept.map((run) => {
      const { stage, loss, reward } = run.steps;
      const [named, values] = reward.some((value) => value !== null) ? ["reward", reward] : ["loss", loss];
      const begins = stage.flatMap((at, n) => (n === 0 || at !== stage[n - 1] ? [n + 1] : []));
      const label = `${named} of ${run.paradigm} in ${text.count(stage.length)} optimiser steps`;
      const line = { label, values, colour: COLOURS[run === a ? 0 : 1] };
      return el("figure", {},
        el("figcaption", {}, `${b ? (run === a ? "A: " : "B: ") : ""}${label}; upright lines: a stage begins`),
        charts.plot({ label, xs: stage.map((_, n) => n + 1), lines: [line], width: Math.min(760, document.documentElement.clientWidth - 48), height: 180, marks: begins, percent: false, points: false }));
    });
    return el("section", { "aria-labelledby": "h-training" }, el("h2", { id: "h-training" }, "Training"), drawn);
  }

  function record(run) {
    const rows = Object.entries(run.costs).sort(([one], [two]) => one - two).map(([, stage]) => [
      stage.name, ...["kept", "optimiser_steps", "sampled_tokens", "trained_tokens", "seconds", "evaluation_seconds"].map((name) =>
        el("td", { class: "number" }, stage[name] === undefined ? "–" : text.count(Math.round(stage[name])))),
    ]);
    return el("div", { class: "record" },
      el("h3", {}, run.id),
      rows.length ? el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Costs of ${run.id}` },
        table("What every stage took", ["stage", "items", "steps", "sampled tokens", "trained tokens", "training, s", "evaluation, s"], rows)) : null,
      el("details", {}, el("summary", {}, "The whole record (run.json)"), el("pre", { tabindex: "0" }, run.record)));
  }

  return { page };
})();
