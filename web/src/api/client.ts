/** Requests to the service. The types are generated from its OpenAPI document. */

import type { paths } from "./schema";
import type { Problem } from "./types";

/** Where the API key is kept: it is gone when the tab closes, and never in a URL. */
const KEY = "candlewick.key";

let key: string | null = readKey();
const listeners = new Set<() => void>();

function readKey(): string | null {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}

export function currentKey(): string | null {
  return key;
}

/** Replaces the key of all further requests; null forgets it. */
export function setKey(value: string | null): void {
  key = value;
  try {
    if (value === null) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, value);
  } catch {
    // Storage is disabled: the key lives as long as the page.
  }
  for (const listener of [...listeners]) listener();
}

export function onKeyChange(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** A failed request. `code` is that of the problem, or `offline` if the service did not respond. */
export class ApiError extends Error {
  constructor(
    readonly code: Problem["code"] | "offline",
    readonly status: number,
    detail: string,
    /** Time after which a retry may succeed, in milliseconds. */
    readonly retryAfterMs: number | null = null,
  ) {
    super(detail);
  }
}

type Method = "get" | "post" | "delete";

type Paths<M extends Method> = {
  [P in keyof paths]: paths[P] extends Record<M, { responses: unknown }> ? P : never;
}[keyof paths];

type Operation<P extends keyof paths, M extends Method> = NonNullable<paths[P][M]>;

type Query<O> = O extends { parameters: { query?: infer Q } } ? NonNullable<Q> : never;

type Body<O> = O extends { requestBody: { content: { "application/json": infer B } } } ? B : never;

type Json<R> = R extends { content: { "application/json": infer T } } ? T : never;

/** The JSON of a successful response. */
type Result<O> = O extends { responses: infer R }
  ? { [S in keyof R & (200 | 201)]: Json<R[S]> }[keyof R & (200 | 201)]
  : never;

/** `GET` with query parameters. Failed requests throw an `ApiError`. */
export async function get<P extends Paths<"get">>(
  path: P,
  query?: Query<Operation<P, "get">>,
): Promise<Result<Operation<P, "get">>> {
  return (await send("GET", path, query)).json();
}

/** `GET` of a body that is not JSON. */
export async function getBlob<P extends Paths<"get">>(
  path: P,
  query: Query<Operation<P, "get">>,
): Promise<Blob> {
  return (await send("GET", path, query)).blob();
}

/** A path with its parameters replaced by any text. */
type Filled<P extends string> = P extends `${infer Head}{${string}}${infer Tail}`
  ? `${Head}${string}${Tail}`
  : P;

/** The path of the document that a filled path matches. */
type Template<F extends string> = {
  [P in Paths<"post">]: F extends P ? P : F extends Filled<P> ? P : never;
}[Paths<"post">];

/** `POST` with a JSON body. Failed requests throw an `ApiError`. */
export async function post<F extends Filled<Paths<"post">>>(
  path: F,
  body?: Body<Operation<Template<F>, "post">>,
): Promise<Result<Operation<Template<F>, "post">>> {
  return (await send("POST", path, {}, body)).json();
}

async function send(method: string, path: string, query: object = {}, body?: unknown): Promise<Response> {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null) search.set(name, String(value));
  }
  const headers: Record<string, string> = {};
  if (key !== null) headers.Authorization = `Bearer ${key}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const init: RequestInit = {
    method,
    headers,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  };
  let response: Response;
  try {
    response = await fetch(search.size > 0 ? `${path}?${search}` : path, init);
  } catch {
    throw new ApiError("offline", 0, "The service does not respond. Check that it is running.");
  }
  if (!response.ok) throw await problemOf(response);
  return response;
}

async function problemOf(response: Response): Promise<ApiError> {
  const seconds = Number(response.headers.get("Retry-After"));
  const retryAfter = seconds > 0 ? seconds * 1000 : null;
  try {
    const problem = (await response.json()) as Problem;
    return new ApiError(problem.code, response.status, problem.detail, retryAfter);
  } catch {
    const detail = `The service, or a proxy in front of it, answered with status ${response.status}.`;
    return new ApiError("offline", response.status, detail, retryAfter);
  }
}
