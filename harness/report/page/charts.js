// Curves over stages and over steps. A plot is a picture to a screen reader: its label says what it shows.
"use strict";

const COLOURS = ["#0b62a8", "#a83c05"]; // run A and run B: told apart by hue, lightness and, by style, by dashes
const INK = "#3c4650", LINES = "#dfe4e8";

const charts = (() => {
  const font = "11px system-ui, sans-serif";
  const axis = (given) => ({ stroke: INK, font, grid: { stroke: LINES, width: 1 }, ticks: { show: false }, gap: 4, ...given });

  // A mark across the plot where something begins: the stage that learns a task, or a stage's first step.
  function marker(places) {
    return (plot) => {
      plot.ctx.save();
      plot.ctx.strokeStyle = "#8a949e";
      plot.ctx.setLineDash([3, 3]);
      for (const place of places) {
        const x = Math.round(plot.valToPos(place, "x", true));
        plot.ctx.beginPath();
        plot.ctx.moveTo(x, plot.bbox.top);
        plot.ctx.lineTo(x, plot.bbox.top + plot.bbox.height);
        plot.ctx.stroke();
      }
      plot.ctx.restore();
    };
  }

  // lines: [{label, values, colour, dashed}] over xs; a null is a hole. Percent unless `range` says otherwise.
  function plot({ label, xs, lines, width, height, marks = [], percent = true, points = true }) {
    const holder = el("div", { class: "plot", role: "img", "aria-label": label });
    const scale = percent ? 100 : 1;
    const data = [xs, ...lines.map((line) => line.values.map((value) => (value === null ? null : scale * value)))];
    new uPlot({
      width, height, legend: { show: false }, cursor: { show: false }, padding: [6, 8, 0, 0],
      scales: { x: { time: false }, y: percent ? { range: [0, 100] } : {} },
      axes: [
        axis({ size: 20, values: (_, ticks) => ticks.map((tick) => (Number.isInteger(tick) ? tick : "")) }),
        axis(percent ? { size: 30, splits: [0, 25, 50, 75, 100], values: (_, ticks) => ticks.map((tick) => (tick % 50 ? "" : tick)) } : { size: 48 }),
      ],
      series: [{}, ...lines.map((line) => ({
        stroke: line.colour, width: 2, dash: line.dashed ? [5, 4] : undefined,
        points: { show: points, size: 5, stroke: line.colour, fill: line.dashed ? "#fff" : line.colour },
      }))],
      hooks: { draw: [marker(marks)] },
    }, data, holder);
    return holder;
  }

  function key(lines) {
    return el("ul", { class: "key" }, lines.map((line) =>
      el("li", {}, el("span", { class: line.dashed ? "swatch dashed" : "swatch", style: { "--ink": line.colour }, "aria-hidden": "true" }), line.label)));
  }

  return { plot, key };
})();
