const ERRORS_ONLY = 1;

// Vega-Lite repeats the last click on a legend at every later click on the chart; only the legend is to switch.
function withoutRepeatedClicks(chart) {
  for (const signal of chart.signals) {
    if (signal.name.endsWith("_group_legend")) signal.on = signal.on.slice(0, 1);
  }
  return chart;
}

for (const place of document.querySelectorAll("[data-chart]")) {
  const chart = JSON.parse(document.getElementById(place.dataset.chart).textContent);
  const actions = { export: true, source: false, compiled: false, editor: false };
  // Errors only: that no closed form is known of the chosen metric leaves a layer empty, of which Vega would warn.
  const options = { mode: "vega-lite", renderer: "svg", logLevel: ERRORS_ONLY, patch: withoutRepeatedClicks, actions };
  vegaEmbed(place, chart, options);
}
