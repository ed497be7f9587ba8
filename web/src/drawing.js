// SPDX-License-Identifier: Apache-2.0
// drawing.js: what is painted over and under: the picture, the box, the rulers with their millimetres.

import { cornersOf, distanceMm, toView } from "./geometry.js";
import { mm } from "./format.js";

const MATCH = "#ffb454";
const QUERY = "#7db9ff";

export function drawPicture(context, bitmap, at) {
  context.imageSmoothingEnabled = at.width < 4 * bitmap.width;
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, at.left, at.top, at.width, at.height);
}

/** A bar of round millimetres above the number of the slice. */
export function drawScale(context, at, height) {
  const most = 130 / at.pxPerMm;
  const length = [200, 100, 50, 20, 10, 5, 2, 1].find((n) => n <= most) ?? 1;
  const [x, y, px] = [10, height - 32, length * at.pxPerMm];
  context.save();
  context.fillStyle = "rgba(0, 0, 0, 0.55)";
  context.fillRect(x - 4, y - 18, Math.max(px, 50) + 8, 22);
  context.fillStyle = "#e4e8ec";
  context.fillRect(x, y - 1, px, 1.5);
  context.fillRect(x, y - 5, 1.5, 5);
  context.fillRect(x + px - 1.5, y - 5, 1.5, 5);
  context.font = "11px system-ui, sans-serif";
  context.fillText(`${length} mm`, x + 1, y - 7);
  context.restore();
}

export function drawBox(context, at, volume, box, inRange) {
  const [a, b] = cornersOf(volume, box).map((corner) => toView(at, corner));
  context.save();
  context.strokeStyle = QUERY;
  context.lineWidth = 1.5;
  context.setLineDash(inRange ? [] : [4, 4]);
  context.strokeRect(a[0], a[1], b[0] - a[0], b[1] - a[1]);
  context.restore();
}

function tick(context, [x, y], angle) {
  const [dx, dy] = [6 * Math.cos(angle), 6 * Math.sin(angle)];
  context.moveTo(x - dx, y - dy);
  context.lineTo(x + dx, y + dy);
}

export function drawRulers(context, at, extent, rulers) {
  context.save();
  context.font = "600 13px system-ui, sans-serif";
  for (const ruler of rulers) {
    const [a, b] = [toView(at, ruler.from), toView(at, ruler.to)];
    const across = Math.atan2(b[1] - a[1], b[0] - a[0]) + Math.PI / 2;
    const stroke = (style, width) => {
      context.strokeStyle = style;
      context.lineWidth = width;
      context.beginPath();
      context.moveTo(...a);
      context.lineTo(...b);
      tick(context, a, across);
      tick(context, b, across);
      context.stroke();
    };
    stroke("rgba(0, 0, 0, 0.7)", 4);
    stroke(MATCH, 1.5);
    const text = mm(distanceMm(extent, ruler.from, ruler.to));
    const x = Math.max(a[0], b[0]) + 8;
    const y = (a[0] > b[0] ? a[1] : b[1]) + 4;
    context.lineWidth = 4;
    context.strokeStyle = "rgba(0, 0, 0, 0.8)";
    context.strokeText(text, x, y);
    context.fillStyle = MATCH;
    context.fillText(text, x, y);
  }
  context.restore();
}
