"""The comparison as a picture: for each work a bar a program, as long as its wall time is to the slowest one's."""
from html import escape

COLORS = {"locus-push": "#0a7d5a", "locus-push zstd": "#4fb894", "buildah": "#9aa0a6", "floor": "#c9b458"}
LEFT, WIDTH, BAR, GAP = 230, 420, 14, 16


def bars(figures, names, about):
    y, parts = 40, []
    for work, of in figures.items():
        longest = max(one["wall"] for one in of.values())
        parts.append(text(LEFT - 10, y + len(of) * BAR / 2 + 4, f"{work}  {names[work]}", "end"))
        for name, one in of.items():
            length = max(1.5, WIDTH * one["wall"] / longest)
            color = COLORS.get(name, "#777")
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR - 3}" rx="2" fill="{color}"/>')
            parts.append(text(LEFT + length + 6, y + BAR - 5, f"{one['wall']:.2f} s", "start", "small"))
            y += BAR
        y += GAP
    x = LEFT
    legend = []
    for name in dict.fromkeys(name for of in figures.values() for name in of):
        legend.append(f'<rect x="{x}" y="12" width="11" height="11" rx="2" fill="{COLORS.get(name, "#777")}"/>')
        legend.append(text(x + 16, 22, name))
        x += 40 + 7 * len(name)
    foot = f"wall seconds, medians of {about['rounds']} turns; {about['machine']}; {about['date']}"
    parts.append(text(LEFT - 220, y + 6, foot, "start", "small"))
    style = ("text{font:12px system-ui,sans-serif;fill:#222}.small{font-size:10px;fill:#555}"
             "@media(prefers-color-scheme:dark){text{fill:#eee}.small{fill:#bbb}}")
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 90} {y + 18}" role="img" '
            f'aria-label="Wall time of each program for each work">\n<style>{style}</style>\n'
            + "\n".join(legend + parts) + "\n</svg>\n")


def text(x, y, words, anchor="start", kind=None):
    of = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{of}>{escape(words)}</text>'
