// SPDX-License-Identifier: Apache-2.0
// nocodec.js: stands in for the decoders of Zarr that NiiVue brings along: 1.4 MB that NIfTI never needs.

export default class {
  static fromConfig() {
    throw new Error("Zarr is not read here");
  }
}
