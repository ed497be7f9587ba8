// SPDX-License-Identifier: Apache-2.0
// api.js: the service, as the page asks it.  Every answer that is not good becomes an ApiError whose
// message is a sentence to show; 401 also tells `onLoginNeeded`.

export class ApiError extends Error {
  constructor(status, message, details = "") {
    super(message);
    this.status = status;
    this.details = details;
  }
}

export const events = new EventTarget(); // "login": somebody must log in; "busy": something waits

const PREFIX = "/api/v1";
let waiting = 0;

function busy(change) {
  waiting += change;
  events.dispatchEvent(new CustomEvent("busy", { detail: waiting }));
}

/** Resolves when nothing that the reader asked for is under way. */
export function untilIdle() {
  if (waiting === 0) return Promise.resolve();
  return new Promise((resolve) => {
    const look = ({ detail }) => {
      if (detail > 0) return;
      events.removeEventListener("busy", look);
      resolve();
    };
    events.addEventListener("busy", look);
  });
}

/** The error in a body that the service, or a proxy before it, answered with. */
export function errorOf(status, text) {
  try {
    const body = JSON.parse(text);
    if (body.Message) return new ApiError(status, body.Message, body.Details ?? "");
  } catch {
    // A proxy answers in HTML.
  }
  const known = {
    413: "This is larger than the service takes.",
    429: "Too many requests: wait a little.",
    502: "The service is not running behind its proxy.",
    503: "The service is busy: try again in a moment.",
    504: "The service took too long to answer.",
  };
  return new ApiError(status, known[status] ?? `The service answered with status ${status}.`);
}

export async function send(method, path, { json, body, headers = {}, signal, quiet } = {}) {
  const all = { ...headers };
  if (method !== "GET") all["X-Cmir"] = "1";
  if (json !== undefined) all["Content-Type"] = "application/json";
  if (!quiet) busy(1);
  try {
    const response = await fetch(path.startsWith("/") ? path : `${PREFIX}/${path}`, {
      method,
      headers: all,
      body: json === undefined ? body : JSON.stringify(json),
      signal,
    });
    if (response.ok) return response;
    const error = errorOf(response.status, await response.text());
    if (response.status === 401 && path !== "session") events.dispatchEvent(new Event("login"));
    throw error;
  } catch (error) {
    if (error instanceof ApiError || error.name === "AbortError") throw error;
    throw new ApiError(
      0,
      "The service cannot be reached. Is it running, and is the network there?",
    );
  } finally {
    if (!quiet) busy(-1);
  }
}

async function answer(method, path, options) {
  const response = await send(method, path, options);
  return response.status === 204 ? null : response.json();
}

export const get = (path, options) => answer("GET", path, options);
export const post = (path, json, options) => answer("POST", path, { json, ...options });
export const remove = (path, options) => answer("DELETE", path, options);

export const query = (values) => {
  const given = Object.entries(values).filter(([, v]) => v !== undefined && v !== null && v !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
};

/** The path of a volume, of the archive or of an upload. */
export const volumePath = (volume, upload) =>
  (upload ? `uploads/${encodeURIComponent(upload)}/` : "") +
  `volumes/${encodeURIComponent(volume)}`;
export const url = (path) => `${PREFIX}/${path}`;

export const pause = (ms, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("stopped", "AbortError"));
    });
  });

/** Waits for a job; its result.  Asks often at first, then every second. */
export async function finished(job, onProgress, signal) {
  for (let wait = 80; ; wait = Math.min(1000, wait * 1.4)) {
    onProgress?.(job);
    if (job.State === "done") return job.Result;
    if (job.State === "failed") throw new ApiError(500, job.Error?.Message ?? "The work failed.");
    if (job.State === "cancelled") throw new DOMException("cancelled", "AbortError");
    await pause(wait, signal);
    job = await get(`jobs/${encodeURIComponent(job.JobId)}`, { signal, quiet: true });
  }
}

/** Posts; where the answer is a job, waits for it. */
export async function postAndWait(path, json, { onProgress, signal } = {}) {
  const response = await send("POST", path, { json, signal });
  const body = await response.json();
  return response.status === 202 ? finished(body, onProgress, signal) : body;
}

/** Sends files; `onSent` is told bytes sent and bytes in all.  The job that the service made of them. */
export function sendFiles(path, files, onSent, signal) {
  return new Promise((resolve, reject) => {
    const form = new FormData();
    for (const file of files) form.append("file", file, file.name);
    const request = new XMLHttpRequest();
    request.open("POST", url(path));
    request.setRequestHeader("X-Cmir", "1");
    request.upload.onprogress = (event) => onSent(event.loaded, event.total);
    request.onload = () => {
      if (request.status === 401) events.dispatchEvent(new Event("login"));
      if (request.status === 202) resolve(JSON.parse(request.responseText));
      else reject(errorOf(request.status, request.responseText));
    };
    request.onerror = () =>
      reject(new ApiError(0, "The connection broke while the files were being sent."));
    request.onabort = () => reject(new DOMException("stopped", "AbortError"));
    signal?.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}
