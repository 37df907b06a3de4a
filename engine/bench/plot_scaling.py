#!/usr/bin/env python3
"""Draws what `engine_bench --scaling --json` prints: time and memory against size, as an SVG.

  engine_bench --scaling --json > scaling.json && plot_scaling.py scaling.json scaling.svg
"""
import json
import math
import sys

COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000", "#56b4e9"]  # Okabe-Ito
WIDTH, HEIGHT, LEFT, TOP, GAP = 430, 300, 62, 30, 90


def panel(networks, key, unit, title, x0, out):
    points = [(p["px"], p[key] / unit) for n in networks for p in n["points"] if p[key] > 0]
    lo_x, hi_x = math.log2(min(p[0] for p in points)), math.log2(max(p[0] for p in points))
    lo_y, hi_y = math.floor(math.log10(min(p[1] for p in points))), math.ceil(math.log10(max(p[1] for p in points)))

    def at(px, value):
        return (x0 + (math.log2(px) - lo_x) / (hi_x - lo_x) * WIDTH,
                TOP + HEIGHT - (math.log10(value) - lo_y) / (hi_y - lo_y) * HEIGHT)

    out.append(f'<text x="{x0 + WIDTH / 2}" y="{TOP - 12}" text-anchor="middle" font-weight="bold">{title}</text>')
    for e in range(lo_y, hi_y + 1):
        y = at(2 ** lo_x, 10 ** e)[1]
        out.append(f'<line x1="{x0}" y1="{y}" x2="{x0 + WIDTH}" y2="{y}" stroke="#ddd"/>')
        label = f"{10 ** e:g}"
        out.append(f'<text x="{x0 - 6}" y="{y + 4}" text-anchor="end">{label}</text>')
    for px in (256, 512, 1024, 2048, 4096):
        if lo_x - 0.3 <= math.log2(px) <= hi_x + 0.3:
            x = at(px, 10 ** lo_y)[0]
            out.append(f'<text x="{x}" y="{TOP + HEIGHT + 16}" text-anchor="middle">{px}</text>')
    out.append(f'<text x="{x0 + WIDTH / 2}" y="{TOP + HEIGHT + 34}" text-anchor="middle">pixels a side</text>')
    for n, color in zip(networks, COLORS):
        path = [at(p["px"], p[key] / unit) for p in n["points"] if p[key] > 0]
        out.append(f'<polyline fill="none" stroke="{color}" stroke-width="2" points="'
                   + " ".join(f"{x:.1f},{y:.1f}" for x, y in path) + '"/>')
        out.extend(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in path)


def main():
    data = json.load(open(sys.argv[1]))
    networks = data["networks"]
    width, height = LEFT + 2 * WIDTH + GAP + 20, TOP + HEIGHT + 90
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
           'font-family="DejaVu Sans, sans-serif" font-size="12">', f'<rect width="{width}" height="{height}" fill="white"/>']
    panel(networks, "seconds", 1, "seconds an image", LEFT, out)
    panel(networks, "peak_bytes", 2 ** 20, "MiB on top of the weights", LEFT + WIDTH + GAP, out)
    x = LEFT
    for n, color in zip(networks, COLORS):
        out.append(f'<rect x="{x}" y="{TOP + HEIGHT + 54}" width="12" height="12" fill="{color}"/>')
        label = f'{n["name"]}, {n["parameters"] / 1e6:.0f} M'
        out.append(f'<text x="{x + 18}" y="{TOP + HEIGHT + 64}">{label}</text>')
        x += 30 + 7.4 * len(label)
    out.append("</svg>")
    open(sys.argv[2], "w").write("\n".join(out))


main()
