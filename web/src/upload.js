// SPDX-License-Identifier: Apache-2.0
// upload.js: files from the reader's disk: sent, read and encoded by the service, each step with its
// progress; then opened as a query.  A broken file is named with what is wrong with it.

import { h, button, dialog, toast } from "./dom.js";
import { finished, post, remove, sendFiles } from "./api.js";
import { bytes } from "./format.js";
import { openVolume } from "./view.js";
import { progressText } from "./side.js";

/** The message without the file's name, which stands beside it. */
const reason = ({ File, Message }) =>
  File && Message.startsWith(`${File}: `) ? Message.slice(File.length + 2) : Message;

function refusedList(refused) {
  if (!refused?.length) return null;
  return h(
    "div",
    { class: "refused" },
    h("h3", {}, `Not read: ${refused.length}`),
    h(
      "ul",
      {},
      refused
        .slice(0, 50)
        .map((r) =>
          h(
            "li",
            {},
            h("b", {}, r.File || r.VolumeId),
            " ",
            h("span", { class: "soft" }, reason(r)),
          ),
        ),
    ),
  );
}

function addedText(result) {
  const parts = [];
  if (result.Added?.length) parts.push(`${result.Added.length} added to the archive`);
  if (result.Present?.length) parts.push(`${result.Present.length} there already`);
  return parts.join(", ") || "Nothing was added";
}

/** Sends files to `path` ("uploads": as a query, "volumes": into the archive); the job's result, or
 * undefined where the reader gave up. */
function work(path, files, limits, title) {
  const control = new AbortController();
  let job = null;
  const total = files.reduce((sum, f) => sum + f.size, 0);
  const done = dialog(
    title,
    (close) => {
      const bar = h("progress", { "aria-label": "Progress", max: 1, value: 0 });
      const text = h(
        "p",
        { role: "status" },
        `Sending ${files.length === 1 ? files[0].name : `${files.length} files`}…`,
      );
      const footer = h(
        "footer",
        {},
        button("Cancel", () => close()),
      );
      const fail = (error) => {
        if (error.name === "AbortError") return;
        bar.remove();
        text.className = "warning";
        text.setAttribute("role", "alert");
        text.textContent = error.message;
        footer.replaceChildren(button("Close", () => close(), { class: "primary" }));
      };
      const run = async () => {
        if (limits?.UploadBytes && total > limits.UploadBytes)
          throw new Error(
            `These are ${bytes(total)}; the service takes ${bytes(limits.UploadBytes)} at once.`,
          );
        if (limits?.UploadFiles && files.length > limits.UploadFiles)
          throw new Error(
            `These are ${files.length} files; the service takes ${limits.UploadFiles} at once.`,
          );
        job = await sendFiles(
          path,
          files,
          (sent, all) => {
            bar.max = all;
            bar.value = sent;
            text.textContent = `Sending: ${bytes(sent)} of ${bytes(all)}`;
          },
          control.signal,
        );
        bar.removeAttribute("value");
        const result = await finished(
          job,
          (now) => {
            text.textContent = progressText(now);
            if (!now.Progress?.Total) return;
            bar.max = now.Progress.Total;
            bar.value = now.Progress.Done;
          },
          control.signal,
        );
        close(result);
      };
      run().catch(fail);
      return [text, bar, footer];
    },
    { class: "work" },
  );
  return done.then((result) => {
    control.abort();
    if (result === undefined && job)
      remove(`jobs/${encodeURIComponent(job.JobId)}`, { quiet: true }).catch(() => {});
    return result;
  });
}

/** Several scans, or some that were refused: the reader chooses. */
function choose(result) {
  return dialog(result.Volumes.length ? "Uploaded scans" : "Nothing to search with", (close) =>
    [
      h(
        "ul",
        { class: "choose" },
        result.Volumes.map((v) =>
          h(
            "li",
            {},
            button([h("b", {}, v.VolumeId), ` ${v.Modality} · ${v.Slices} slices`], () =>
              close(v.VolumeId),
            ),
          ),
        ),
      ),
      refusedList(result.Refused),
    ].filter(Boolean),
  );
}

export async function uploadQuery(app, files) {
  if (!files.length) return;
  const result = await work("uploads", files, app.system.Limits, "Upload as a query");
  if (!result) return;
  let id = result.Volumes[0]?.VolumeId;
  if (result.Volumes.length !== 1 || result.Refused?.length) id = await choose(result);
  if (id) app.go(openVolume(id, result.UploadId), { push: true });
}

export async function addFiles(app, files) {
  if (!files.length) return;
  const result = await work("volumes", files, app.system.Limits, "Add to the archive");
  if (result) await tell(result);
}

/** Takes what was uploaded into the archive. */
export async function addUpload(app, upload) {
  const job = await post(`uploads/${encodeURIComponent(upload)}/add`);
  toast("Adding to the archive…");
  const result = await finished(job);
  await tell(result);
  if (result.Added?.length === 1) app.go(openVolume(result.Added[0]), { push: true });
}

async function tell(result) {
  toast(addedText(result));
  if (result.Refused?.length) await dialog(addedText(result), () => [refusedList(result.Refused)]);
}

/** A hidden file input and the function that opens it. */
export function fileInput(properties, onFiles) {
  const input = h("input", {
    type: "file",
    class: "sr",
    tabindex: -1,
    "aria-hidden": "true",
    ...properties,
    onchange: () => {
      onFiles([...input.files].filter((f) => !f.name.startsWith(".")));
      input.value = "";
    },
  });
  return { input, open: () => input.click() };
}
