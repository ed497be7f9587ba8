// SPDX-License-Identifier: Apache-2.0
// slices.js: pictures of slices, kept as they will be drawn.  The one idea: what the reader will want next
// lies around the current slice, mostly ahead in the direction of scrolling, so it is fetched before it
// is asked for; moving then costs a draw.

import { errorOf, ApiError, pause, untilIdle, url, volumePath, query, events } from "./api.js";

const KEPT_BYTES = 192 * 1024 * 1024;
const AHEAD = 24;
const BEHIND = 8;
const AT_ONCE = 4; // the browser allows six connections; two are left for what was asked for

/** Pictures by address, the least recently drawn forgotten first. */
class Pictures {
  #kept = new Map();
  #nbytes = 0;

  get(key) {
    const picture = this.#kept.get(key);
    if (picture) {
      this.#kept.delete(key);
      this.#kept.set(key, picture);
    }
    return picture;
  }

  has(key) {
    return this.#kept.has(key);
  }

  put(key, picture) {
    if (this.#kept.has(key)) return;
    this.#kept.set(key, picture);
    this.#nbytes += 4 * picture.bitmap.width * picture.bitmap.height;
    for (const [oldest, old] of this.#kept) {
      if (this.#nbytes <= KEPT_BYTES || oldest === key) break;
      this.#kept.delete(oldest);
      this.#nbytes -= 4 * old.bitmap.width * old.bitmap.height;
      old.bitmap.close();
    }
  }
}

const pictures = new Pictures();
const running = new Map(); // address -> promise: asked once however often wanted

const TRIES = 5;

async function load(address, signal, tries = TRIES) {
  let response;
  try {
    response = await fetch(address, { signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The picture could not be fetched: the service cannot be reached.");
  }
  if ((response.status === 429 || response.status === 503) && tries > 1) {
    // So many requests at once are this page's own doing: it waits as long as it is told to.
    await pause(1000 * Math.min(10, Number(response.headers.get("Retry-After")) || 1), signal);
    return load(address, signal, tries - 1);
  }
  if (!response.ok) {
    if (response.status === 401) events.dispatchEvent(new Event("login"));
    throw errorOf(response.status, await response.text());
  }
  const bitmap = await createImageBitmap(await response.blob());
  const picture = { bitmap, pixels: response.headers.get("X-Cmir-Pixels") ?? "source" };
  pictures.put(address, picture);
  return picture;
}

/** The slices of one volume under one window. */
export class SliceSource {
  #ahead = new AbortController();

  constructor(volume, upload) {
    this.path = url(volumePath(volume.VolumeId, upload));
    this.nSlices = volume.Slices;
    this.version = volume.Version; // with it pictures never change, and the browser keeps them
  }

  address(slice, window, side) {
    const values = { centre: window?.centre, width: window?.width, side, v: this.version };
    return `${this.path}/slices/${slice}.png${query(values)}`;
  }

  /** The picture if it is here already. */
  peek(slice, window, side) {
    return pictures.get(this.address(slice, window, side));
  }

  get(slice, window, side, signal) {
    const address = this.address(slice, window, side);
    const here = pictures.get(address);
    if (here) return Promise.resolve(here);
    if (!running.has(address)) {
      const loading = load(address, signal).finally(() => running.delete(address));
      running.set(address, loading);
      return loading;
    }
    // Somebody else's request, who may give it up: then ask again.
    return running.get(address).catch((error) => {
      if (error.name !== "AbortError" || signal?.aborted) throw error;
      return this.get(slice, window, side, signal);
    });
  }

  /** Fetches what lies around a slice; what was being fetched for an earlier place is given up.  A search
   * goes first. */
  fetchAround(slice, direction, window, side) {
    this.stop();
    const control = new AbortController();
    this.#ahead = control;
    const wanted = [];
    const forward = direction < 0 ? -1 : 1;
    for (let i = 1; i <= AHEAD; i++) {
      wanted.push(slice + forward * i);
      if (i <= BEHIND) wanted.push(slice - forward * i);
    }
    const left = wanted.filter(
      (s) => s >= 0 && s < this.nSlices && !pictures.has(this.address(s, window, side)),
    );
    const next = async () => {
      for (await untilIdle(); left.length && !control.signal.aborted; await untilIdle())
        await this.get(left.shift(), window, side, control.signal).catch(() => {});
    };
    for (let i = 0; i < AT_ONCE; i++) next();
  }

  stop() {
    this.#ahead.abort();
  }
}
