// The REST API as the pages use it. Every failure is an Error with a message for people.

const base = "/api/v1";
const tokenKey = "weir-token";

// Somebody has to say who they are. `token`: the one that is not good, null if there was none.
export class Unauthorized extends Error {
  constructor(message, token) {
    super(message);
    this.token = token;
  }
}

// The token is kept for this tab, and until it is closed.
export const signIn = (token) => sessionStorage.setItem(tokenKey, token.trim());
export const signOut = () => sessionStorage.removeItem(tokenKey);
// Of this token alone: another one may have been entered meanwhile.
export const signOutOf = (token) => {
  if (sessionStorage.getItem(tokenKey) === token) signOut();
};
export const isSignedIn = () => sessionStorage.getItem(tokenKey) !== null;

async function call(method, path, body) {
  const token = sessionStorage.getItem(tokenKey);
  // What a header cannot carry would look like a server that does not answer.
  if (token !== null && !/^[\x21-\x7e]+$/.test(token)) throw new Unauthorized("This is not a token: it has characters that no token has.", token);
  const response = await fetch(base + path, {
    method,
    headers: {
      Accept: "application/json",
      ...(body === undefined ? {} : { "Content-Type": "application/json" }),
      ...(token === null ? {} : { Authorization: `Bearer ${token}` }),
    },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  let answer = null;
  try {
    answer = text ? JSON.parse(text) : null;
  } catch {
    answer = null;
  }
  if (response.status === 401) throw new Unauthorized(answer?.message ?? "A token is needed.", token);
  if (!response.ok) throw new Error(answer?.message ?? (text || `${response.status} ${response.statusText}`));
  return answer;
}

const name = (text) => text.split("/").map(encodeURIComponent).join("/");

export const traffic = (windowSeconds) => call("GET", `/traffic?window=${windowSeconds}`);
export const agents = () => call("GET", "/agents");
export const gateway = (gatewayName) => call("GET", `/gateways/${name(gatewayName)}`);
export const putGateway = (artifact) => call("PUT", `/gateways/${name(artifact.name)}`, artifact);
export const events = () => call("GET", "/events?per_page=30");

// Follows paging to the end.
export async function deployments() {
  const all = [];
  for (let page = 1; ; page += 1) {
    const part = await call("GET", `/deployments?page=${page}&per_page=30`);
    all.push(...part);
    if (part.length < 30) return all;
  }
}
