// SPDX-License-Identifier: Apache-2.0
// solid.js: three planes and a rendering of query and hit, by NiiVue, which is loaded when this is first
// asked for.  Its crosshair and the shown slice follow each other through millimetres.

import { h } from "./dom.js";
import { url, volumePath } from "./api.js";

const AXIS = { sagittal: 0, coronal: 1, axial: 2 };
// Positions of slices are LPS; NiiVue's are RAS.
const SIGN = { sagittal: -1, coronal: -1, axial: 1 };

function nearest(positions, at) {
  let best = 0;
  for (let i = 1; i < positions.length; i++)
    if (Math.abs(positions[i] - at) < Math.abs(positions[best] - at)) best = i;
  return best;
}

class Solid {
  #quiet = 0;

  constructor({ stage, volume, upload, window, move }, plane) {
    Object.assign(this, { stage, volume, upload, window, move });
    this.axis = AXIS[plane];
    this.positions = volume.SliceMm.map((mm) => SIGN[plane] * mm);
    this.canvas = h("canvas", { tabindex: -1 });
    this.note = h("p", { class: "loading" }, "Loading the volume…");
    this.element = h(
      "div",
      {
        class: "solidview",
        role: "img",
        "aria-label": `Three planes and a rendering of ${volume.VolumeId}`,
      },
      this.canvas,
      this.note,
    );
    stage.append(this.element);
  }

  async load(Niivue) {
    this.nv = new Niivue({
      backColor: [0, 0, 0, 1],
      crosshairColor: [1, 0.7, 0.33, 0.8],
      crosshairWidth: 1,
      isColorbar: false,
      show3Dcrosshair: true,
      isRadiologicalConvention: true,
      dragAndDropEnabled: false,
      loadingText: "",
      logLevel: "error",
      multiplanarShowRender: 1,
      multiplanarLayout: 2,
      sagittalNoseLeft: true,
      isHighResolutionCapable: true,
    });
    await this.nv.attachToCanvas(this.canvas);
    if (!this.nv.gl) throw new Error("the browser offers no WebGL 2");
    const { centre, width } = this.window;
    await this.nv.loadVolumes([
      {
        url: `${url(volumePath(this.volume.VolumeId, this.upload))}/volume.nii.gz`,
        name: "volume.nii.gz",
        colormap: "gray",
        cal_min: centre - width / 2,
        cal_max: centre + width / 2,
      },
    ]);
    this.nv.setSliceType(this.nv.sliceTypeMultiplanar);
    this.nv.onLocationChange = (location) => this.#moved(location);
    this.note.remove();
    this.element.dataset.ready = "true";
  }

  #setWindow({ centre, width }) {
    const [image] = this.nv.volumes;
    const [low, high] = [centre - width / 2, centre + width / 2];
    if (image.cal_min === low && image.cal_max === high) return;
    image.cal_min = low;
    image.cal_max = high;
    this.nv.updateGLVolume();
  }

  #moved(location) {
    if (this.#quiet) return;
    const at = location.mm?.[this.axis];
    const slice = Number.isFinite(at) ? nearest(this.positions, at) : this.slice;
    if (slice !== this.slice) this.move(slice);
  }

  /** Shows a slice and a window, once there is a volume to show them of. */
  update({ slice, window }) {
    if (!this.nv?.volumes.length || !this.element.isConnected) return;
    this.#setWindow(window);
    if (slice === this.slice) return;
    this.slice = slice;
    this.#quiet++;
    const mm = this.nv.frac2mm(this.nv.scene.crosshairPos);
    const to = [mm[0], mm[1], mm[2]];
    to[this.axis] = this.positions[slice];
    this.nv.scene.crosshairPos = this.nv.mm2frac(to);
    this.nv.drawScene();
    this.#quiet--;
  }

  close() {
    this.element.remove();
    this.nv?.gl?.getExtension("WEBGL_lose_context")?.loseContext();
  }
}

/** The views in 3-D: none, the query's, or the query's and the hit's. */
export class Solids {
  #key = "";
  #solids = [];

  constructor(plane) {
    this.plane = plane;
  }

  /** stages: {stage, volume, upload, window, slice, move(slice)} each; those that are shown are kept. */
  async show(stages) {
    this.stages = stages;
    const key = stages.map((s) => volumePath(s.volume.VolumeId, s.upload)).join(" ");
    if (key !== this.#key) {
      this.close();
      this.#key = key;
      this.#solids = stages.map((s) => new Solid(s, this.plane));
      await this.#load(this.#solids);
    }
    // While it loaded the reader may have moved on.
    this.#solids.forEach((solid, i) => solid.update(this.stages[i]));
  }

  async #load(solids) {
    if (!solids.length) return;
    try {
      const { Niivue } = await import("@niivue/niivue");
      await Promise.all(solids.map((s) => s.load(Niivue)));
    } catch (error) {
      if (solids !== this.#solids) return; // closed meanwhile
      this.close();
      throw error instanceof Error ? error : new Error(String(error));
    }
  }

  close() {
    for (const solid of this.#solids) solid.close();
    this.#solids = [];
    this.#key = "";
  }
}
