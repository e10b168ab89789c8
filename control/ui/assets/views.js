// Data to elements. Text is only ever set as text.

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

const percent = (share) => (share === null || share === undefined ? "–" : `${(share * 100).toFixed(1).replace(/\.0$/, "")} %`);
const parts = (value) => (value === null || value === undefined ? "–" : percent(value / 10000));
const number = (value, digits = 1) => (value === null || value === undefined ? "–" : value.toFixed(digits));

function table(headings, rows, empty) {
  if (rows.length === 0) return element("p", { class: "quiet" }, empty);
  return element(
    "table",
    {},
    element("thead", {}, element("tr", {}, headings.map((heading) => element("th", { scope: "col" }, heading)))),
    element("tbody", {}, rows),
  );
}

const cells = (...values) => values.map((value) => element("td", {}, value));

function bar(share, kind) {
  const made = element("span", { class: `bar ${kind}` }, element("i"));
  made.firstChild.style.setProperty("width", `${Math.min(100, Math.max(0, (share ?? 0) * 100))}%`);
  return made;
}

function weightForm(gateway, edit) {
  const inputs = gateway.routes.map((route) =>
    element("label", {}, shortName(route.name), " ",
      element("input", { type: "number", min: 0, max: 100, step: 1, required: true, value: Math.round(route.intended / 100), name: route.name }), " %"),
  );
  return element(
    "form",
    {
      class: "weights",
      onsubmit: (event) => {
        event.preventDefault();
        const weights = Object.fromEntries([...new FormData(event.target)].map(([route, value]) => [route, Number(value)]));
        edit(gateway.name, weights);
      },
    },
    inputs,
    element("button", {}, "Set weights"),
  );
}

const shortName = (route) => (route.split("/").length === 4 ? route.split("/")[2] : route);

export function gateways(data, edit) {
  const sections = data.gateways.map((gateway) => {
    const rows = gateway.routes.map((route) =>
      element(
        "tr",
        {},
        cells(
          element("span", { title: route.name }, shortName(route.name)),
          element("span", {}, bar(route.intended / 10000, "intended"), parts(route.intended)),
          element("span", {}, bar((route.acknowledged ?? 0) / 10000, "acknowledged"), parts(route.acknowledged)),
          element("span", {}, bar(route.observed, "observed"), percent(route.observed)),
          route.condition ? `${route.condition} (${parts(route.condition_strength)})` : "–",
          number(route.rate),
          number(route.p50_ms, 2),
          number(route.p99_ms, 2),
          element("span", { class: route.error_rate > 0 ? "bad" : "" }, String(route.errors)),
        ),
      ),
    );
    const behind = gateway.agents.filter((agent) => !agent.current).length;
    return element(
      "section",
      {},
      element("h2", {}, gateway.name, gateway.port ? element("small", {}, ` port ${gateway.port}`) : null,
        element("small", {}, ` ${number(gateway.rate)} requests/s`),
        behind > 0 ? element("small", { class: "bad" }, ` ${behind} agent(s) behind`) : null),
      table(["Route", "Intended", "Acknowledged", "Observed", "Condition", "Rate /s", "p50 ms", "p99 ms", "Errors"], rows, "No routes."),
      gateway.routes.length > 1 ? weightForm(gateway, edit) : null,
    );
  });
  if (sections.length === 0) {
    return element("p", { class: "quiet" }, "No gateway yet. Apply a blueprint: ", element("code", {}, "weir apply -f FILE"), ".");
  }
  return element("div", {}, sections);
}

export function deployments(all) {
  return element(
    "div",
    {},
    all.length === 0 ? element("p", { class: "quiet" }, "Nothing is deployed yet.") : null,
    all.map((deployment) => {
      const rows = Object.entries(deployment.clusters ?? {}).flatMap(([cluster, { services }]) =>
        (services ?? []).map((service) => {
          const status = service.status ?? {};
          const phase = status.phase?.name ?? "–";
          return element("tr", {}, cells(
            cluster,
            service.breed?.name ?? String(service.breed?.reference ?? service.breed),
            element("span", { class: phase === "Failed" ? "bad" : "" }, `${status.intention ?? ""} ${phase}`),
            status.phase?.notification ?? "",
            (service.instances ?? []).map((instance) => element("div", {}, `${instance.host}:${Object.values(instance.ports ?? {}).join(",")}`)),
            service.scale ? `${service.scale.instances} × ${service.scale.cpu} cpu, ${service.scale.memory}` : "–",
          ));
        }),
      );
      return element("section", {}, element("h2", {}, deployment.name),
        table(["Cluster", "Service", "Status", "Note", "Instances", "Scale"], rows, "No services."));
    }),
  );
}

export function agents(all) {
  const rows = all.map((agent) => element("tr", {}, cells(
    agent.agent,
    element("span", { class: agent.live ? "" : "bad" }, agent.live ? "live" : "gone"),
    String(agent.generation),
    (agent.digest ?? "–").slice(0, 19),
    agent.refused.map((refusal) => element("div", { class: "bad" }, `${refusal.gateway || "snapshot"}: ${refusal.reason}`)),
    agent.version,
    new Date(agent.started_at_ms).toLocaleString(),
  )));
  return table(["Agent", "State", "Generation", "Digest", "Refused", "Version", "Since"], rows, "No agent has reported yet.");
}

export function events(all) {
  const rows = all.map((event) => element("tr", {}, cells(
    new Date(event.timestamp).toLocaleTimeString(),
    event.type,
    event.tags.filter((tag) => !event.tags.some((other) => other.startsWith(`${tag}:`))).join(", "),
    typeof event.value === "string" ? event.value.slice(0, 200) : event.value === undefined || event.value === null ? "" : JSON.stringify(event.value).slice(0, 200),
  )));
  return table(["Time", "Type", "Tags", "Value"], rows, "Nothing has happened yet.");
}

// Asks for a token. `problem`: why the one before was not good.
export function tokenForm(problem, enter) {
  const input = element("input", { type: "password", autocomplete: "off", "aria-label": "Token", required: true });
  const form = element(
    "form",
    { class: "token" },
    ...(problem ? [element("p", { class: "bad", role: "alert" }, problem)] : []),
    element("label", {}, "Token ", input),
    element("button", { type: "submit" }, "Enter"),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    enter(input.value);
  });
  return form;
}
