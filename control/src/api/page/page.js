// Shows the description of the interface. Text only ever becomes text nodes.

const methods = ["get", "post", "put", "delete"];
let shared = {};

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== undefined && child !== null));
  return made;
}

function table(head, rows) {
  if (rows.length === 0) return undefined;
  return element("table", {},
    element("thead", {}, element("tr", {}, ...head.map((text) => element("th", { scope: "col" }, text)))),
    element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map((cell) => element("td", {}, cell))))));
}

// The form of a schema in a few words, references by their last part.
function form(schema, known, depth = 0) {
  if (schema === undefined || schema === true) return "anything";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.type === "array") return `list of ${form(schema.items, known, depth)}`;
  const types = [].concat(schema.type ?? []);
  if (schema.properties && depth < 2) {
    const fields = Object.entries(schema.properties).map(([name, inner]) => `${name}: ${form(inner, known, depth + 1)}`);
    return `{ ${fields.join(", ")} }`;
  }
  return types.join(" or ") || "anything";
}

function contents(content, known) {
  return Object.entries(content ?? {}).map(([kind, { schema }]) => `${kind}: ${form(schema, known)}`).join("\n");
}

// Answers that many operations have are written once.
function resolved(answer) {
  return answer.$ref ? shared[answer.$ref.split("/").pop()] ?? {} : answer;
}

function operation(path, method, about, known) {
  const parameters = (about.parameters ?? []).map((parameter) => [
    element("code", {}, parameter.name),
    `${parameter.in}${parameter.required ? ", required" : ""}, ${form(parameter.schema, known)}`,
    parameter.description ?? "",
  ]);
  const body = about.requestBody && [
    element("p", {}, `Body: ${about.requestBody.description ?? ""}`),
    element("pre", {}, contents(about.requestBody.content, known)),
  ];
  const answers = Object.entries(about.responses ?? {}).map(([status, given]) => [status, resolved(given)]).map(([status, answer]) => [
    element("code", {}, status),
    answer.description ?? "",
    element("pre", {}, contents(answer.content, known)),
  ]);
  return element("details", { id: about.operationId ?? `${method}-${path}` },
    element("summary", {},
      element("b", { class: "method" }, method.toUpperCase()),
      element("code", {}, path),
      element("span", {}, about.summary ?? "")),
    element("div", { class: "body" },
      about.description ? element("p", {}, about.description) : undefined,
      table(["Parameter", "Where", "What"], parameters),
      ...(body ?? []),
      table(["Status", "Means", "Body"], answers)));
}

function show(description) {
  const known = description.components?.schemas ?? {};
  shared = description.components?.responses ?? {};
  document.getElementById("about").textContent =
    `${description.info.title} ${description.info.version}. ${description.info.description ?? ""}`;
  const groups = new Map((description.tags ?? []).map((tag) => [tag.name, []]));
  for (const [path, item] of Object.entries(description.paths)) {
    for (const method of methods.filter((method) => item[method])) {
      const about = item[method];
      const tag = about.tags?.[0] ?? "other";
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(operation(path, method, about, known));
    }
  }
  const full = [...groups].filter(([, operations]) => operations.length > 0);
  document.getElementById("tags").replaceChildren(
    ...full.map(([tag]) => element("a", { href: `#group-${tag}` }, tag)));
  document.getElementById("operations").replaceChildren(
    ...full.map(([tag, operations]) =>
      element("section", {}, element("h2", { id: `group-${tag}` }, tag), ...operations)));
}

document.getElementById("filter").addEventListener("input", (event) => {
  const wanted = event.target.value.trim().toLowerCase();
  for (const shown of document.querySelectorAll("details")) {
    shown.hidden = !shown.querySelector("summary").textContent.toLowerCase().includes(wanted);
  }
});

try {
  const answer = await fetch("/api/v1/openapi.json");
  if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
  show(await answer.json());
} catch (error) {
  document.getElementById("operations").textContent = `The description cannot be read: ${error.message}`;
}
